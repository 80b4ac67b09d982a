"""The commands of the README's first screen do what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from sparks.media.clip import read_clip
from sparks.pocket import measure
from sparks.pocket.tasks import default_task

ROOT = Path(__file__).parents[1]


def commands() -> list[str]:
    """The shell blocks before the first heading, the installation cut off."""
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)\n```", first_screen, flags=re.DOTALL)
    for block in blocks:
        assert block.startswith("pip install ")
    return [block.split(" && ", 1)[1] for block in blocks]


def shell(command: str, folder: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [*command.split(), *extra],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_first_screen_has_exactly_two_commands() -> None:
    assert commands() == ["sparks solve", "python -m pytest -q"]


def test_main_job_makes_the_action_happen(tmp_path: Path) -> None:
    done = shell(commands()[0], tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    task = default_task()
    happened = {
        name: bool(
            measure.judge(read_clip(run / f"{name}.mp4").frames[None], [task.prompt]).happened
        )
        for name in ("baseline", "edited")
    }
    assert happened == {"baseline": False, "edited": True}


def test_test_command_finds_the_tests_and_is_what_ci_runs() -> None:
    command = commands()[1]
    found = shell(command, ROOT, "--collect-only")
    assert found.returncode == 0, found.stdout
    assert "tests/test_readme.py" in found.stdout
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
