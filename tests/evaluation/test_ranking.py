"""How well a number ranks what is true, on numbers whose answer can be counted by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sparks.evaluation.statistics.ranking import kendall, pairs_right, roc_area, roc_curve

ROOT = Path(__file__).parents[2]


def test_area_under_roc() -> None:
    assert roc_area([1, 2, 3, 4], [False, False, True, True]) == 1
    assert roc_area([4, 3, 2, 1], [False, False, True, True]) == 0
    assert roc_area([1, 3, 2, 4], [False, False, True, True]) == 3 / 4
    assert roc_area([1, 1, 1, 1], [False, False, True, True]) == 1 / 2
    assert roc_area([1, 2], [True, True]) is None


def test_the_curve_has_the_area() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(60) < 0.4
    values = np.round(truth + rng.normal(0, 1, 60), 1)
    false, found = roc_curve(values.tolist(), truth.tolist())
    assert (false[0], found[0], false[-1], found[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(found, false) == pytest.approx(roc_area(values.tolist(), truth.tolist()))


def test_kendall_and_pairs() -> None:
    assert kendall([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert kendall([1, 2, 3], [10, 30, 20]) == pytest.approx(1 / 3)
    assert kendall([1, 1, 1], [10, 30, 20]) is None
    assert pairs_right([1, 2, 3], [10, 30, 20]) == (2 / 3, 3)
    assert pairs_right([1, 1, 3], [0, 1, 1]) == ((0.5 + 1) / 2, 2)
    assert pairs_right([1, 2, 9, 0], [0, 1, 0, 1], ["a", "a", "b", "b"]) == (1 / 2, 2)
    assert pairs_right([1, 2], [1, 1]) is None


def test_the_benchmark_of_metrics_tells_flaws_apart() -> None:
    command = [sys.executable, "benchmarks/metrics.py", "--count", "2", "--metrics", "colour,l1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ") for line in done.stdout.splitlines()
    }
    drifts = rows["area under ROC"].index("colours drift")
    assert float(rows["colour drift"][drifts]) == 1
