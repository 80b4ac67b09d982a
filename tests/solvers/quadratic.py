"""A quadratic of 16 coordinates behind the real interfaces: how far the sound is from a target."""

import torch

from sparks.search.driver import Outcome, solve
from sparks.search.objective import Objective, Weights
from sparks.search.problem import EditProblem
from sparks.search.protocols import Solver
from sparks.spaces.base import FullSpace
from sparks.spaces.low import RandomSpace
from tests import toy

DIM = 16
ONLY_SOUND = Weights(vlm=0, latent_alpha=1, latent_v=0, lpips=0, temporal=0)


def quadratic(budget: str | None = None, *, dim: int | None = DIM, seed: int = 0) -> EditProblem:
    """The distance of alpha from a target at z ~ N(0, I); `dim=None` is the full space's 30."""
    task = toy.problem(budget)
    start = toy.ToyEditor().start(task.conditioning)
    if dim is None:
        task.space = FullSpace(start, mode="audio")
    else:
        task.space = RandomSpace(start, k=dim, mode="audio")
    generator = torch.Generator().manual_seed(seed)
    target = task.space.decode(torch.randn(1, task.dim, generator=generator))
    task.objective = Objective(ONLY_SOUND, target)
    return task


def left(outcome: Outcome) -> float:
    """Share of the start's loss that the best still has."""
    return outcome.best.total / outcome.start.total


def median_left(solver: type[Solver], budget: str = "qwen_calls=200", seeds: int = 5) -> float:
    """Of what is left over a few targets and seeds, each solver with its own defaults."""
    found = [
        left(solve(quadratic(budget, seed=seed), solver(), seed=seed)) for seed in range(seeds)
    ]
    return sorted(found)[seeds // 2]
