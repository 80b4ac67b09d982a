"""docs/critics.md: its code runs, its settings are valid, and its sums are right."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

from sparks.critics.composite import CompositeCritic
from sparks.critics.qwen import QUESTION
from sparks.registry import critics
from sparks.search.driver import solve
from sparks.settings.construct import construct
from sparks.settings.schema import Config
from sparks.solvers.adam import Adam
from tests.toy import Brightness, problem

TEXT = (Path(__file__).parents[2] / "docs" / "critics.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rises.py").write_text(blocks("python")[1])
    return tmp_path


def test_every_block_of_python_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    for block in blocks("python"):
        exec(compile(block, "docs/critics.md", "exec"), {"__name__": "docs"})
    assert len(blocks("python")) == 3
    del sys.modules["rises"]


def test_the_critic_has_twenty_lines_and_rises(folder: Path) -> None:
    lines = [line for line in blocks("python")[1].splitlines() if line.strip()]
    assert len(lines) <= 20
    critic = construct("critic", critics.get(f"{folder}/rises.py:Rises"), {"rise": 0.3})
    frames = torch.full((2, 5, 3, 20, 20), 0.5)
    for time in range(5):  # the first video's red square rises by 0.4, the second one's stays
        frames[0, time, 0, 12 - 2 * time : 16 - 2 * time, 8:12] = 1.0
        frames[1, time, 0, 12:16, 8:12] = 1.0
    odds = critic.log_odds(frames, "it rises")
    assert odds[0] > 2
    assert odds[1] == pytest.approx(-40 * 0.3, abs=0.1)


def test_it_can_be_searched_with(folder: Path) -> None:
    critic = critics.get(f"{folder}/rises.py:Rises")()
    search = problem("qwen_calls=8", critic=critic)
    outcome = solve(search, Adam(lr=0.05))
    assert outcome.best.p_yes > outcome.start.p_yes


def test_the_composite_is_built_and_costs_what_is_said() -> None:
    (block,) = blocks("yaml")
    config = Config.resolve(yaml.safe_load(block))
    critic = construct(
        "critic", CompositeCritic, config.critic.options, build=lambda settings: Brightness()
    )
    charged = re.search(r"charged\s+([\d +]+) = (\d+) calls", TEXT)
    assert charged is not None
    assert [part.calls for part in critic.parts] == [int(n) for n in charged[1].split("+")]
    assert critic.calls == int(charged[2])


def test_names_and_defaults_are_those_of_the_program() -> None:
    for name in ("qwen", "clip", "xclip", "composite"):
        assert f"`{name}`" in TEXT
        assert name in critics.names()
    assert QUESTION in TEXT
    (block,) = blocks("toml")
    assert "sparks.critics" in tomllib.loads(block)["project"]["entry-points"]
