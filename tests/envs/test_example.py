import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_agent.py"


def test_the_example_trains_an_agent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(EXAMPLE), "2"])
    agent = runpy.run_path(str(EXAMPLE))["agent"]
    assert agent.num_timesteps == 2
    assert "'p_yes': " in capsys.readouterr().out
