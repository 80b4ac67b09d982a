"""What an edit reached is plain data, whatever models and plugins give."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.errors import SparksError
from sparks.models.memory import OutOfMemory
from sparks.runs.edit import edit, go_on
from sparks.runs.rehearsal import rehearse
from sparks.runs.result import Result, read_result
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings, read_settings
from tests.workplace import make_workplace

STRANGE = """
import torch
from plugins import Redness, Wander


class Silent(Redness):
    "Has no number to say."

    def log_odds(self, frames, prompt, indices=None):
        return super().log_odds(frames, prompt) * torch.nan


class Remarks(Wander):
    report = {1, 2}


class Numbers(Wander):
    report = {"share": float("nan")}
"""
BASE: dict[str, Any] = {
    "video": "own.mp4",
    "prompt": "a blue ball grows",
    "critic": {"name": "plugins.py:Redness"},
    "budget": "qwen_calls=2",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = make_workplace(tmp_path_factory.mktemp("workplace"))
    (place / "strange.py").write_text(STRANGE)
    return place


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)


def edited(run: Path, **settings: Any) -> Result:
    return edit(merge(read_settings("settings.yaml"), BASE, settings), run, pictures=False)


def read(run: Path) -> dict[str, Any]:
    """`result.json`, in which JSON's own numbers stand alone."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    content: dict[str, Any] = json.loads((run / "result.json").read_text(), parse_constant=refuse)
    return content


def test_a_judge_without_an_answer_has_none(tmp_path: Path) -> None:
    result = edited(tmp_path / "run", judge={"name": "strange.py:Silent"})
    assert result.p_yes_judge_edited is result.p_yes_judge_baseline is None
    assert read(tmp_path / "run")["p_yes_judge_edited"] is None


@pytest.mark.parametrize("guidance", [{"guidance_scale": 1e38}, {"rescale": math.nan}])
def test_a_final_render_of_no_numbers_is_told_and_everything_is_written(
    guidance: Settings, tmp_path: Path
) -> None:
    with pytest.raises(SparksError, match=r"final render in .*run holds values that are"):
        edited(tmp_path / "run", guidance={"final": {"video": guidance}})
    assert read(tmp_path / "run")["p_yes_edited"] is None
    assert (tmp_path / "run" / "edited.mp4").is_file()


def test_what_would_be_done_is_data_that_json_can_hold() -> None:
    rehearsed = rehearse({"guidance": {"final": {"video": {"rescale": math.nan}}}})
    json.dumps(rehearsed, allow_nan=False)
    assert rehearsed["config"]["guidance"]["final"]["video"]["rescale"] is None


@pytest.mark.parametrize("solver", ["Remarks", "Numbers"])
def test_a_report_that_is_no_plain_data_costs_nothing_else(
    solver: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = edited(tmp_path / "run", solver={"name": f"strange.py:{solver}"})
    assert result.solver_report is None
    assert read(tmp_path / "run")["p_yes_best"] == result.p_yes_best
    assert "the solver's report is left out" in caplog.text
    assert go_on(tmp_path / "run") == result


WHOLE: dict[str, Any] = {
    **{"run_dir": "run", "solver": "adam", "space": "full", "seed": 1, "skipped": 0},
    **{"p_yes_baseline": 0.1, "p_yes_best": 0.9, "p_yes_edited": None},
    **{"p_yes_judge_baseline": None, "p_yes_judge_edited": None},
    **{"losses": {"vlm": 0.1}, "spent": {"renders": 5}, "stopped_by": "solver"},
}


@pytest.mark.parametrize(
    "change",
    [
        *({"losses": None}, {"losses": {"vlm": "x"}}, {"spent": [1]}, {"p_yes_best": "x"}),
        *({"stopped_by": 3}, {"run_dir": None}, {"skipped": "many"}, {"seed": {}}),
    ],
)
def test_a_result_of_other_types_is_refused_in_a_line(change: dict[str, Any]) -> None:
    assert read_result(WHOLE, Path("result.json")).stopped_by == "solver"
    (name,) = change
    with pytest.raises(SparksError, match=f"result.json cannot be read: {name}"):
        read_result(WHOLE | change, Path("result.json"))


def test_memory_that_ends_while_pictures_are_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparks.runs.folder.side_by_side", lambda *_: torch.empty(2**46))
    with pytest.raises(OutOfMemory, match="writing the videos"):
        edit(merge(read_settings("settings.yaml"), BASE), tmp_path / "run")
