"""The command in a folder with all that a small experiment needs."""

from pathlib import Path

import pytest

from tests.workplace import Sparks, make_workplace, run_sparks


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one test file; those that need another one have their own."""
    return make_workplace(tmp_path_factory.mktemp("workplace"))


@pytest.fixture
def sparks(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Sparks:
    """Runs the command in the workplace: exit code, standard output, standard error."""
    monkeypatch.chdir(workplace)
    return lambda *arguments: run_sparks(monkeypatch, capsys, *arguments)
