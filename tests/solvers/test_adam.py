"""Adam's updates, against numbers worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.objective import Losses
from sparks.solvers.adam import Adam
from tests.solvers.quadratic import quadratic


def scored(*gradient: float) -> Evaluation:
    values = torch.tensor(gradient, dtype=torch.float32)
    return Evaluation(1, torch.zeros_like(values), Losses({"vlm": 1.0}), 0.5, 0, values)


def path(gradients: list[float], progress: float = 0.0, **options: Any) -> list[float]:
    """Where the first of two equal coordinates goes."""
    solver = Adam(**{"lr": 0.1, "eps": 1e-12} | options)
    solver.setup(quadratic(dim=2), np.random.default_rng(0))
    places = []
    for gradient in gradients:
        solver.tell([scored(gradient, gradient)], progress)
        places.append(float(solver.ask()[0, 0]))
    return places


def test_the_first_step_is_the_rate_whatever_the_slope() -> None:
    for gradient in (1e-3, 5.0, 1e4):
        assert path([gradient]) == pytest.approx([-0.1])
        assert path([-gradient]) == pytest.approx([0.1])


def test_moments_decay_and_are_unbiased() -> None:
    # m = 1 then (1 + 1) / 2, v = 2 then (2 + 1) / 2, over 1 - 1/2 and then 1 - 1/4
    second = (1 / (3 / 4)) / math.sqrt(1.5 / (3 / 4))
    assert path([2, 1], betas=(0.5, 0.5)) == pytest.approx([-0.1, -0.1 - 0.1 * second])
    # m = 1 then (1 - 2) / 2, over 1/2 and then 3/4; v = 4 both times
    assert path([2, -2], betas=(0.5, 0.0)) == pytest.approx([-0.1, -0.1 - 0.1 * (-1 / 3)])


def test_eps_shortens_steps_where_it_is_flat() -> None:
    assert path([1], eps=1.0) == pytest.approx([-0.05])
    assert path([0.25], eps=1.0) == pytest.approx([-0.02])


def test_the_rate_falls_as_a_cosine_over_the_budget_to_its_floor() -> None:
    falls = [path([1], progress, lr_floor=0.2)[0] for progress in (0, 0.25, 0.5, 1)]
    middle = 0.02 + 0.08 * (1 + math.sqrt(0.5)) / 2
    assert falls == pytest.approx([-0.1, -middle, -0.06, -0.02])
    constant = [path([1], progress, lr_schedule="constant")[0] for progress in (0, 0.5, 1)]
    assert constant == pytest.approx([-0.1] * 3)


def test_without_a_rate_it_is_the_spaces() -> None:
    solver, task = Adam(eps=1e-12), quadratic(dim=2)
    solver.setup(task, np.random.default_rng(0))
    assert not solver.ask().any()
    solver.tell([scored(1.0, -1.0)], 0.0)
    assert solver.ask()[0].tolist() == pytest.approx([-task.space.rate, task.space.rate])


def test_long_gradients_are_clipped_and_short_ones_are_not() -> None:
    clipped = Adam(clip_norm=1.0).shape(torch.tensor([3.0, -4.0]))
    assert clipped.tolist() == pytest.approx([0.6, -0.8])
    short = torch.tensor([0.3, -0.4])
    assert torch.equal(Adam(clip_norm=1.0).shape(short), short)
    assert torch.equal(Adam(clip_norm=1.0).shape(torch.zeros(2)), torch.zeros(2))
    assert torch.equal(Adam().shape(1e6 * short), 1e6 * short)


def test_what_was_asked_for_stays_as_it_was() -> None:
    solver = Adam(lr=0.1)
    solver.setup(quadratic(dim=2), np.random.default_rng(0))
    asked = solver.ask()
    solver.tell([scored(1.0, 1.0)], 0.0)
    assert not asked.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr is 0"),
        ({"lr": math.inf}, "lr is inf"),
        ({"lr_schedule": "step"}, "cosine or constant"),
        ({"patience": 0}, "patience is 0"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\)"),
        ({"eps": 0.0}, "eps is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SparksError, match=message):
        Adam(**options)
