"""Candidates of a search on disk, whatever ends it, and an edit picked from them by eye."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sparks.editors.controls import load_controls
from sparks.errors import SparksError
from sparks.media.clip import read_clip
from sparks.runs.folder import discard
from sparks.runs.keeping import Keeping, kept_path, load_kept, read_keep
from sparks.runs.picking import candidates, pick, render
from sparks.runs.recipes import read_recipe
from sparks.runs.watch import history
from sparks.search.driver import solve
from sparks.search.journal import Journal
from sparks.solvers.adam import Adam
from sparks.solvers.sampling import RandomSearch
from tests import toy
from tests.workplace import CRITIC, Sparks


def searched(folder: Path, most: int | None, budget: str = "renders=7") -> list[float]:
    """Totals of a search that was kept."""
    problem = toy.problem(budget)
    problem.observers.append(Keeping(folder, most, problem))
    totals: list[float] = []
    with contextlib.closing(Journal(folder)) as journal:
        solve(
            problem,
            RandomSearch(sigma=0.3),
            listeners=(lambda evaluation, _: totals.append(evaluation.total),),
            journal=journal,
        )
    return totals


def names(folder: Path) -> set[int]:
    return {int(path.stem) - 1 for path in (folder / "kept").iterdir()}


def test_every_candidate_is_kept_as_it_was_scored(tmp_path: Path) -> None:
    searched(tmp_path, None)
    rows = history(tmp_path)
    assert names(tmp_path) == set(range(7))
    assert all(load_kept(tmp_path, row).shape == (toy.problem().dim,) for row in rows)


@pytest.mark.parametrize("most", [1, 3])
def test_the_best_few_are_kept(tmp_path: Path, most: int) -> None:
    totals = searched(tmp_path, most)
    assert names(tmp_path) == set(np.argsort(totals, kind="stable")[:most])


def test_a_search_that_goes_on_keeps_what_belongs_to_its_rows(tmp_path: Path) -> None:
    """Whatever was written between two rows, and whatever a gradient solver is not told again."""
    whole = tmp_path / "whole"
    cut = tmp_path / "cut"
    for folder, budgets in ((whole, ["renders=8"]), (cut, ["renders=5", "renders=8"])):
        folder.mkdir()
        for budget in budgets:
            problem, journal = toy.problem(budget), Journal(folder)
            keeping = Keeping(folder, 3, problem)
            keeping.recall(journal.rows)
            problem.observers.append(keeping)
            solve(problem, Adam(lr=0.1), journal=journal)
            journal.close()
    assert names(whole) == names(cut)
    assert len(names(cut)) == 3
    for row in (row for row in history(cut) if row["index"] in names(cut)):
        load_kept(cut, row)


def test_a_full_disk_is_told_of_before_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = toy.problem("renders=1000")
    assert f"up to 1000 evaluations are kept: {1000 * problem.dim * 4 / 1024:.1f} KiB" in (
        Keeping(tmp_path, None, problem).plan
    )
    assert "up to 5 evaluations" in Keeping(tmp_path, 5, problem).plan
    assert "each" in Keeping(tmp_path, None, toy.problem("wall_clock=5s")).plan

    class Usage:
        free = 2**28 + 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(SparksError, match=r"takes .* KiB, and the disk of .* keep fewer"):
        Keeping(tmp_path, None, problem)
    Keeping(tmp_path, 2, problem)


@pytest.mark.parametrize("text", ["", "0", "-1", "some", "1.5", "٣"])
def test_what_says_not_how_many_is_refused(text: str) -> None:
    with pytest.raises(SparksError, match="write all, best, or how many"):
        read_keep(text)


def test_another_candidate_than_was_scored_is_refused(tmp_path: Path) -> None:
    searched(tmp_path, None)
    rows = history(tmp_path)
    kept_path(tmp_path, 2).write_bytes(kept_path(tmp_path, 3).read_bytes())
    with pytest.raises(SparksError, match="is not what evaluation 3 scored"):
        load_kept(tmp_path, rows[2])
    kept_path(tmp_path, 2).write_bytes(b"torn")
    with pytest.raises(SparksError, match="cannot read"):
        load_kept(tmp_path, rows[2])


@pytest.fixture
def run(sparks: Sparks, workplace: Path) -> Path:
    asked = ("--prompt", "a blue ball grows", *CRITIC, "--output", "run", "--keep", "all")
    code, _, err = sparks(
        *("solve", "own.mp4", *asked, "--config", "settings.yaml", "--budget", "qwen_calls=3")
    )
    assert code == 0, err
    assert "up to 3 evaluations are kept" in err
    return workplace / "run"


def test_an_edit_is_picked_by_eye(sparks: Sparks, run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    best = next(row["evaluation"] for row in candidates(run) if row["best"])
    other = next(row["evaluation"] for row in candidates(run) if not row["best"])
    code, out, err = sparks("pick", "run", str(best), "--set", "critic.name=plugins.py:Redness")
    assert code == 0, err
    # The best one, picked, is what the search itself rendered.
    same = read_clip(run / "picked.mp4").frames, read_clip(run / "edited.mp4").frames
    assert torch.equal(*same)
    code, out, _ = sparks(
        *("pick", "run", str(other), "--json", "--set", "critic.name=plugins.py:Redness")
    )
    picked = json.loads(out)
    assert picked["evaluation"] == other
    assert read_recipe(run / "picked.mp4")["index"] == other - 1
    assert read_recipe(run / "picked.safetensors")["scores"]["p_yes"] == picked["p_yes"]
    assert not torch.equal(
        load_controls(run / "picked.safetensors").delta_v,
        load_controls(run / "best.safetensors").delta_v,
    )
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.name in before}
    assert after == before  # what the search chose stays
    code, out, _ = sparks("pick", "run")
    assert code == 0
    assert "kept, rendered, picked" in out
    discard(run)
    assert not run.exists()


def test_what_cannot_be_picked_is_told(sparks: Sparks, run: Path) -> None:
    code, _, err = sparks("pick", "run", "9")
    assert (code, err.strip()) == (2, "error: run run has evaluations 1 to 3, and no 9")
    code, _, err = sparks("pick", "run", "2")
    assert "names the code plugins.py:Redness" in err  # as of any folder that anyone can write
    kept_path(run, 1).unlink()
    code, _, err = sparks("pick", "run", "2")
    assert "evaluation 2 of run was not kept; search again with --keep all" in err
    code, _, err = sparks("pick", "run", "--render", "a")
    assert "no list of evaluations" in err
    assert sparks("pick", "nowhere")[0] == 2
    with pytest.raises(SparksError, match="was not kept"):
        render(run, [1, 2])
    with pytest.raises(SparksError, match="and no 0"):
        pick(run, 0)
