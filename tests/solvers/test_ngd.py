"""Normalised gradient descent."""

import pytest
import torch

from sparks.errors import SparksError
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.solvers.ngd import NGD, normalised
from tests.solvers.quadratic import left, quadratic


def walk(solver: NGD, scale: float = 1.0) -> list[torch.Tensor]:
    task = quadratic("qwen_calls=8")
    task.objective.weights = task.objective.weights.__class__(0, scale, 0, 0, 0)
    seen: list[Evaluation] = []
    task.observers.append(seen.extend)
    solve(task, solver)
    return [each.z for each in seen]


def test_every_step_has_the_length_asked_for_be_the_loss_flat_or_steep() -> None:
    flat, steep = (
        walk(NGD(lr=0.1, lr_schedule="constant", momentum=0), scale) for scale in (1e-4, 1e4)
    )
    for before, after, other in zip(flat[:-1], flat[1:], steep[1:], strict=True):
        assert (after - before).square().mean().sqrt() == pytest.approx(0.1, rel=1e-4)
        assert torch.allclose(after, other, atol=1e-4)


def test_momentum_averages_directions() -> None:
    first, second, third = walk(NGD(lr=0.1, lr_schedule="constant", momentum=0.5))[:3]
    task = quadratic()
    directions = [
        normalised(evaluation.gradient)
        for z in (first, second)
        for evaluation in task.evaluate(z, gradient=True)
        if evaluation.gradient is not None
    ]
    expected = second - 0.1 * (directions[0] + directions[1]) / 2
    assert torch.allclose(third, expected, atol=1e-5)


def test_it_descends_a_quadratic() -> None:
    assert left(solve(quadratic("qwen_calls=30"), NGD(lr=0.2))) < 0.05
    assert not normalised(torch.zeros(4)).any()


def test_a_momentum_out_of_range_is_refused() -> None:
    with pytest.raises(SparksError, match="momentum is 1"):
        NGD(momentum=1.0)
