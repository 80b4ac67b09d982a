"""The learning behind `sparks screen`: what its script computes, on cases whose answer is known."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sparks.runs.screening.predictor import read_predictor
from sparks.runs.screening.probe import Look, Probe

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "screen.py"
ACTIONS = {"jump": "a red ball jumps", "wave": "a red ball waves"}


@pytest.fixture(scope="module")
def screen() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("screen_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their own module
    spec.loader.exec_module(module)
    return module


def line(task: str, seed: int, action: str, best: float, happened: bool) -> str:
    """A case whose best draw tells how it ends."""
    draws = [Look("draw", p, 0.01, 1.5) for p in (0.1, best, 0.2)]
    looks = (Look("start", 0.1, 0.01, 1.5), *draws)
    probe = Probe(ACTIONS[action], None, (0.01, 1.0), None, looks, {})
    row = {"task": task, "seed": seed, "action": action, "happened_edited": happened}
    return json.dumps(row | {"probe": probe.json()})


@pytest.fixture
def features(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for task in range(8):
        for seed in range(4):
            happened = bool(rng.random() < 0.6)
            best = 0.9 if happened != (rng.random() < 0.1) else 0.3
            rows.append(line(f"t{task}", seed, ("jump", "wave")[task % 2], best, happened))
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_area_counts_pairs(screen: ModuleType) -> None:
    truth = np.array([1.0, 1, 0, 0])
    assert screen.area(np.array([3, 2, 1, 0]), truth) == 1
    assert screen.area(np.array([0, 1, 2, 3]), truth) == 0
    assert screen.area(np.ones(4), truth) == 0.5
    assert screen.area(np.array([3, 0, 1, 2]), truth) == 0.5
    assert screen.area(np.array([3, 0, 1, 2]), truth, np.array([1, 0, 1, 1])) == 1
    assert math.isnan(screen.area(np.ones(2), np.ones(2)))


def test_a_regression_finds_the_rates(screen: ModuleType) -> None:
    table = np.array([[0.0]] * 10 + [[1.0]] * 10)
    truth = np.array([1.0] * 2 + [0] * 8 + [1] * 9 + [0])
    weights = screen.logistic(table, truth, penalty=1e-6)
    assert 1 / (1 + np.exp(-weights[0])) == pytest.approx(0.2, abs=1e-3)
    assert 1 / (1 + np.exp(-weights.sum())) == pytest.approx(0.9, abs=1e-3)


def test_what_tells_the_end_is_chosen_and_learnt(
    screen: ModuleType, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "predictor.json"
    screen.main(["fit", "--features", str(features), "--output", str(written)])
    predictor = read_predictor(json.loads(written.read_text()))
    assert predictor.terms.keys() & {"draw_best", "draw_mean", "draw_spread", "draws_accepted"}
    cases = screen.cases(features, [], "happened_edited")
    said = np.array([predictor.probability(case.probe) for case in cases])
    truth = np.array([float(case.happened) for case in cases])
    assert screen.area(said, truth) > 0.8
    assert abs(said.mean() - truth.mean()) < 0.1
    out = capsys.readouterr().out
    assert "the action alone" in out
    assert "32 edits" in out


def test_rows_of_a_table_say_how_probes_ended(
    screen: ModuleType, features: Path, tmp_path: Path
) -> None:
    table = tmp_path / "cells.csv"
    table.write_text("task,seed,true_edited\nt0,1,True\nt0,2,False\nt0,3,\n")
    cases = screen.cases(features, [table], "true_edited")
    assert [(case.seed, case.happened) for case in cases] == [(1, True), (2, False)]


def test_a_probe_of_less_effort_holds_fewer_draws(screen: ModuleType, features: Path) -> None:
    probe = screen.cases(features, [], "happened_edited")[0].probe
    fewer = screen.reduced(probe, screen.Effort(1, 0, 2))
    assert [look.p_yes for look in fewer.of("draw")] == [0.1, 0.2]
