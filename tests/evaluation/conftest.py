"""The command in an empty folder: nothing here needs a generator."""

from pathlib import Path

import pytest

from tests.workplace import Sparks, run_sparks


@pytest.fixture
def sparks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Sparks:
    """Runs the command in `tmp_path`: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: run_sparks(monkeypatch, capsys, *arguments)
