"""The baselines that any search must beat: random candidates, and the start under other noise."""

import math

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.problem import EditProblem
from sparks.spaces.base import LOW_DIMENSIONAL


class RandomSearch:
    """Candidates from a Gaussian around the start, in batches.

    Args:
        batch: candidates rendered together.
        sigma: standard deviation of each coordinate; three times the `sigma` of the space if None.

    Raises:
        SparksError: a number out of range.
    """

    default_space = LOW_DIMENSIONAL

    def __init__(self, *, batch: int = 8, sigma: float | None = None) -> None:
        check_population(batch, sigma)
        self.batch, self.sigma = batch, sigma

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """The start, then draws until the budget is spent to the last call."""
        sigma = spread(self.sigma, problem, wide=3)
        problem.evaluate(torch.zeros(problem.dim))
        while True:
            size = fitting(problem, self.batch)
            problem.evaluate(sigma * draw(rng, size, problem.dim))


class BestOfSeeds:
    """The start under other noise, again and again: what luck alone finds."""

    varies_noise = True

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """The start under the search's own noise first."""
        start = torch.zeros(problem.dim)
        problem.evaluate(start)
        while True:
            problem.evaluate(start, seed=int(rng.integers(2**31)))


def affordable(problem: EditProblem) -> float:
    """Evaluations that the budget still allows, as far as seconds go at the pace so far."""
    meter, counted = problem.meter, problem.affordable()
    clock, spent = meter.budget.wall_clock, meter.wall_clock
    timed = meter.renders * (clock / spent - 1) if clock and spent else math.inf
    return min(math.inf if counted is None else counted, timed)


def fitting(problem: EditProblem, batch: int) -> int:
    """As much of a batch as the counts allow; 1 at least, for the problem to refuse."""
    left = problem.affordable()
    return batch if left is None else max(1, min(batch, left))


def draw(rng: np.random.Generator, count: int, dim: int) -> Tensor:
    """Standard normal candidates `[count, dim]`."""
    return torch.from_numpy(rng.standard_normal((count, dim), dtype=np.float32))


def spread(sigma: float | None, problem: EditProblem, wide: float = 1.0) -> float:
    """`sigma`, or if None `wide` times what the space that is searched is drawn from with."""
    return wide * problem.space.sigma if sigma is None else sigma


def check_population(batch: int, sigma: float | None) -> None:
    """Refuse numbers that make no population.

    Raises:
        SparksError: fewer than one candidate, or a deviation that is not positive.
    """
    if batch < 1:
        raise SparksError(f"batch is {batch}; give at least 1")
    if sigma is not None and not 0 < sigma < math.inf:
        raise SparksError(f"sigma is {sigma}; it must be positive")


def check_patience(patience: int | None, min_delta: float = 0.0) -> None:
    """Refuse a patience that no search can have.

    Raises:
        SparksError: less than one evaluation, or an improvement below 0.
    """
    if patience is not None and patience < 1:
        raise SparksError(f"patience is {patience}; give at least 1, or null for none")
    if not 0 <= min_delta < math.inf:
        raise SparksError(f"min_delta is {min_delta}; it must be 0 or more")
