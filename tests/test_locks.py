"""One process at a time in a folder."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sparks.locks import locked

NO_LOCKS = """
import errno, fcntl
def none(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = none
"""
HOLDER = """
import sys
from pathlib import Path
from sparks.locks import locked
with locked(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, prelude: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until its input ends, or it is killed."""
    command = [sys.executable, "-c", prelude + HOLDER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def free(folder: Path) -> bool:
    with locked(folder) as ours:
        return ours


def test_one_at_a_time_gets_a_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    with locked(tmp_path) as ours:
        assert ours
        assert not free(tmp_path)  # which does not let go of it
        assert not free(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert free(tmp_path)


def test_the_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert not free(tmp_path)
        process.communicate()
        assert free(tmp_path)
    with holder(tmp_path) as process:
        assert not free(tmp_path)
        process.kill()
        process.wait()
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert free(tmp_path)


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network drive whose server keeps no locks."""
    fcntl = pytest.importorskip("fcntl")

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)


@pytest.mark.usefixtures("lockless")
def test_a_file_stands_for_the_lock_where_there_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(tmp_path) as ours:
        assert ours
        assert "without locks (No locks available): .lock-soft stands for one" in caplog.text
        assert not free(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with holder(tmp_path, NO_LOCKS) as process:
        assert not free(tmp_path)
        process.kill()
        process.wait()
        assert (tmp_path / ".lock-soft").exists()
        assert free(tmp_path)


@pytest.mark.parametrize("name", [".lock", ".lock-soft"])
@pytest.mark.usefixtures("lockless")
def test_a_lock_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "key").write_text("only key")
    (tmp_path / "run" / name).symlink_to(tmp_path / "key")
    with pytest.raises(OSError, match="it is a link"), locked(tmp_path / "run"):
        pass
    assert (tmp_path / "key").read_text() == "only key"


def test_what_is_no_lack_of_locks_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match="directory"), locked(tmp_path):
        pass
    assert not (tmp_path / ".lock-soft").exists()
