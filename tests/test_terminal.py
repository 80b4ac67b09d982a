"""What is shown to people, and what becomes of it where nobody can be shown anything."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparks.errors import SparksError, printable, shorten
from sparks.runs.watch import chart
from sparks.terminal import Lenient, shows

HOSTILE = "\x1b]0;PWN\x07\x1b[2J\x9b31m\x00gone\r\nnext\tcell"


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    shown = printable(HOSTILE)
    assert not set(shown) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
    assert shown.endswith("\\x0d\nnext\tcell")
    assert printable("Grüße 🙂") == "Grüße 🙂"
    assert printable("caf\udce9").isprintable()


def test_messages_are_shown_as_text_and_in_part_where_they_are_long() -> None:
    assert "\x1b" not in str(SparksError(HOSTILE))
    assert len(str(SparksError("x" * 10_000_000))) <= 1500
    assert shorten("a" * 100, 21) == "a" * 8 + " ... " + "a" * 8
    assert shorten("short") == "short"


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(32, "Broken pipe")


def test_a_stream_that_is_gone_ends_nothing() -> None:
    for stream in (None, Broken()):
        lenient = Lenient(stream)
        assert lenient.write("abc") == 3
        lenient.flush()
    assert not Lenient(None).isatty()


def test_characters_that_an_encoding_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", Lenient(plain))
    print("✓ done", flush=True)
    assert plain.buffer.getvalue() == b"? done\n"  # type: ignore[attr-defined]
    assert not shows("▁▂▃")
    assert chart([0, 1], 2, 1) == ".@"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", ">&-", ">/dev/full"])
def test_commands_work_where_their_output_goes_nowhere(closed: str, tmp_path: Path) -> None:
    line = f"{sys.executable} -m sparks.cli plugins {closed}"
    ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_commands_work_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "sparks.cli", "solve", "nowhere✓.mp4", "--prompt", "x"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.count(b"\n") == 1
