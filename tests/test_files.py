"""Files that are written whole, on every kind of disk, and found from everywhere."""

import contextlib
import errno
import os
import pwd
from pathlib import Path

import pytest

from sparks.editors.choosing import remembered
from sparks.errors import SparksError
from sparks.files import at_home, place, read_bytes, read_json, replacing, write_text
from sparks.models.weights import find
from sparks.registry import Registry
from sparks.settings.yaml import read_raw


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with contextlib.suppress(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    write_text(path, "after")
    assert path.read_text() == "after"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def fails(number: int) -> object:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_without_modes_or_syncing_takes_files(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chmod", fails(errno.EPERM))
    monkeypatch.setattr(os, "fsync", fails(number))
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_is_full_or_broken_is_told_and_keeps_what_it_had(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "before")
    monkeypatch.setattr(os, "fsync", fails(number))
    with pytest.raises(SparksError, match=f"a.txt: {os.strerror(number)}; make room there"):
        write_text(tmp_path / "a.txt", "after")
    assert (tmp_path / "a.txt").read_text() == "before"


def test_home_is_home_wherever_a_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("seed: 7\n")
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    assert place("~/out") == tmp_path / "out"
    assert place(Path("runs")) == Path("runs")  # an option left out is at its default
    assert read_raw("~/mine.yaml") == {"seed": 7}
    assert Registry("spaces").get("~/mine.py:Mine").__name__ == "Mine"
    assert find("~") == tmp_path
    assert at_home("a~/b") == "a~/b"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without name and home, as containers on clusters have them."""

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("nobody")
def test_without_a_home_nothing_is_there_and_what_is_asked_for_is_told() -> None:
    paths = (lambda: place("~/out"), lambda: read_raw("~/a.yaml"))
    for use in paths:
        with pytest.raises(SparksError, match=r"~.*; set HOME, or write the whole path"):
            use()
    assert find("someone/something") is None
    assert remembered() == {}


def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="it is no plain file"):
            read_bytes(path)
        with pytest.raises(OSError, match="it is no plain file"):
            read_json(path)


@pytest.mark.parametrize("text", ["[" * 300_000, "", "{", "\ufeff{}", "9" * 5000])
def test_json_that_is_none_is_one_kind_of_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r".+"):
        read_json(tmp_path / "a.json")


def test_json_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 256 MiB"):
        read_json(tmp_path / "a.json")
