"""Bayesian optimisation."""

import numpy as np
import pytest

from sparks.errors import SparksError
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.solvers.sampling import RandomSearch
from sparks.testing import check_solver
from tests.solvers.quadratic import left, quadratic

pytest.importorskip("botorch")

from sparks.solvers.bo import BO


def test_it_keeps_a_solvers_promises() -> None:
    check_solver(lambda: BO(initial=4, batch=3), lambda: quadratic("qwen_calls=12"))


def test_it_learns_where_a_quadratic_is_low() -> None:
    found = [left(solve(quadratic("qwen_calls=40", seed=seed), BO(), seed=seed)) for seed in (0, 1)]
    drawn = [
        left(solve(quadratic("qwen_calls=40", seed=seed), RandomSearch(sigma=1.0), seed=seed))
        for seed in (0, 1)
    ]
    assert np.mean(found) < 0.5 * np.mean(drawn)


def test_batches_are_the_first_draws_and_rounds_that_fill_the_budget() -> None:
    task = quadratic("qwen_calls=22")
    sizes: list[int] = []
    seen: list[Evaluation] = []
    task.observers.append(lambda batch: sizes.append(len(batch)))
    task.observers.append(seen.extend)
    solve(task, BO(initial=8, batch=5))
    assert sizes == [1, 8, 5, 5, 3]
    assert all(np.isfinite(each.total) for each in seen)


def test_the_box_grows_with_success_and_shrinks_without() -> None:
    solver = BO(length=2)
    solver.setup(quadratic(), np.random.default_rng(0))
    for improved, side in ((True, 2), (True, 4), (False, 4), (False, 2), (True, 2), (False, 2)):
        solver._resize(improved)
        assert solver.side == side


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(SparksError, match="length is 9"):
        BO(length=9)
    with pytest.raises(SparksError, match="batch is 0"):
        BO(batch=0)
