import runpy
from pathlib import Path

import pytest

from sparks.pocket.tasks import find_task

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_agent.py"


def test_the_example_trains_an_agent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(EXAMPLE), "2", "dev40/00-jump"])
    ran = runpy.run_path(str(EXAMPLE))
    assert ran["agent"].num_timesteps == 2
    assert ran["env"].unwrapped.problem.prompt == find_task("dev40/00-jump").prompt
    assert "'p_yes': " in capsys.readouterr().out
