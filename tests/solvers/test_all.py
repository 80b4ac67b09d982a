"""What every solver promises: it spends exactly, repeats itself and goes on after a kill."""

import json
from pathlib import Path
from typing import Any

import pytest

from sparks.search.driver import Outcome, solve
from sparks.search.evaluation import Evaluation, Watch
from sparks.settings.yaml import read_settings
from tests.searches import REGISTERED, history, make, search
from tests.solvers.quadratic import quadratic
from tests.toy import ToyEditor, problem

SOLVERS = [*REGISTERED, "nevergrad/OnePlusOne"]
SPACES = {"ngd": "lowrank", "hybrid": "full", "random": "random", "best-of-seeds": "full"}


def patient(name: str) -> Any:
    solver: Any = make(name)
    solver.patience = None
    return solver


def run(name: str, budget: str, seed: int = 0) -> tuple[Outcome, list[Evaluation]]:
    task = quadratic(budget)
    seen: list[Evaluation] = []
    task.observers.append(seen.extend)
    return solve(task, patient(name), seed=seed), seen


@pytest.mark.parametrize("name", SOLVERS)
def test_the_budget_is_spent_to_the_last_call_and_the_start_is_first(name: str) -> None:
    for calls in (1, 2, 3, 9, 10, 30):
        outcome, seen = run(name, f"qwen_calls={calls}")
        assert outcome.evaluations == calls
        assert outcome.stopped_by == "qwen_calls"
        assert not seen[0].z.any()
    task = problem("qwen_calls=32", watch=Watch(num_frames=4, windows=3))
    assert solve(task, patient(name)).evaluations == 10
    assert task.meter.qwen_calls == 30


@pytest.mark.parametrize("name", SOLVERS)
def test_seconds_alone_end_it_too(name: str) -> None:
    outcome, _ = run(name, "wall_clock=0.2s")  # an import in between may take longer than that
    assert outcome.stopped_by == "wall_clock"


@pytest.mark.parametrize("name", SOLVERS)
def test_the_same_seed_gives_the_same_search_and_another_one_another(name: str) -> None:
    def rows(seed: int) -> list[tuple[str, float, int]]:
        _, seen = run(name, "qwen_calls=20", seed)
        return [(each.z_sha256, each.total, each.seed) for each in seen]

    first = rows(5)
    assert first == rows(5)
    assert (first == rows(6)) == (name in ("adam", "ngd"))


class Kill(BaseException):
    """Nothing in the program catches it."""


class Mortal(ToyEditor):
    """Dies at one of its batches."""

    left = 0

    def render(self, *arguments: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise Kill
        return super().render(*arguments, **options)


@pytest.mark.parametrize("name", ["cma", "hybrid"])
def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path: Path, name: str) -> None:
    whole = search(tmp_path / "whole", make(name), "renders=22")
    for after in (1, 2, 3):  # hybrid: before its batch, after it, after Adam's first step
        editor = Mortal()
        editor.left = after
        folder = tmp_path / f"killed-{after}"
        with pytest.raises(Kill):
            search(folder, make(name), "renders=22", editor)
        known = len(history(folder))
        editor = ToyEditor()
        resumed = search(folder, make(name), "renders=22", editor)
        assert (resumed.best.index, resumed.best.batch) == (whole.best.index, whole.best.batch)
        assert history(folder) == history(tmp_path / "whole")
        assert sum(editor.renders) == 22 - known


@pytest.fixture(scope="module")
def edit_pocket() -> Any:
    """Edits the bundled task by settings; all share what they load."""
    from sparks.runs.cache import Cache
    from sparks.runs.edit import edit

    cache = Cache()

    def run_edit(folder: Path, **settings: Any) -> dict[str, Any]:
        return edit(settings, folder, cache=cache, pictures=False)

    return run_edit


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_edits_the_bundled_task(tmp_path: Path, edit_pocket: Any, name: str) -> None:
    settings: dict[str, Any] = {
        "solver": {"name": name},
        "budget": "qwen_calls=3",
        "sampling": {"num_inference_steps": 2, "grad_steps": 1},
    }
    if name in SPACES:
        settings["space"] = {"name": SPACES[name]}
    result = edit_pocket(tmp_path / "run", **settings)
    assert result["spent"]["qwen_calls"] == 3
    assert result["solver"] == name
    assert result["space"] == SPACES.get(name, "temporal")
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").open()]
    assert len(rows) == 3
    searched = read_settings(tmp_path / "run" / "config.yaml")["solver"]
    varied = name == "best-of-seeds" or searched.get("vary_noise", False)
    assert (len({row["seed"] for row in rows}) == 3) == varied
    best = [row for row in rows if row["best"]][-1]
    assert best["total"] == min(row["total"] for row in rows)
    assert result["p_yes_best"] == best["p_yes"]
    assert result["p_yes_baseline"] == rows[0]["p_yes"]
    from sparks.editors.controls import controls_metadata

    recipe = controls_metadata(tmp_path / "run" / "best.safetensors")
    assert json.loads(recipe["seeds"])["noise"] == best["seed"]
