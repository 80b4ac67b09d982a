"""A few renders before a search, and what the critic says to them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import Solver
from sparks.solvers.hybrid import Hybrid
from sparks.solvers.ngd import normalised

STEPS = (1.0, 3.0)  # down the gradient, in learning rates of the space


@dataclass(frozen=True)
class Effort:
    """How much is rendered.

    Attributes:
        noises: prompt-only renders, the start among them.
        steps: renders down the start's gradient, at most two.
        draws: moves that `hybrid` would look at first, evenly taken from its batch.
    """

    noises: int = 4
    steps: int = 1
    draws: int = 6


@dataclass(frozen=True)
class Look:
    """One render.

    Attributes:
        kind: `start`, `noise`, `step` or `draw`.
        p_yes: the critic's.
        motion: mean absolute change from frame to frame after the kept ones.
        leap: the largest of those changes, as a multiple of their mean.
    """

    kind: str
    p_yes: float
    motion: float
    leap: float


@dataclass(frozen=True)
class Probe:
    """What a few renders showed.

    Attributes:
        prompt, static_prompt: of the edit.
        source: motion and leap of the source, as of a look.
        slope: by how much a step of the length of a first draw would raise the critic's log odds,
            if they went on as they begin; None of a critic without a gradient.
        looks: the start first.
        spent: counters of the meter.
    """

    prompt: str
    static_prompt: str | None
    source: tuple[float, float]
    slope: float | None
    looks: tuple[Look, ...]
    spent: Mapping[str, float]

    def of(self, kind: str) -> list[Look]:
        """Looks of one kind."""
        return [look for look in self.looks if look.kind == kind]

    def json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def probe(
    problem: EditProblem,
    solver: Solver,
    source: Tensor,
    *,
    static_prompt: str | None = None,
    effort: Effort = Effort(),
    seed: int = 0,
) -> tuple[Probe, list[Tensor]]:
    """Look around the start of an edit, outside the budget of its search.

    The draws are moves that `hybrid` makes from the same seed, if that is what will search.

    Args:
        problem: of the edit; its own meter is not touched.
        solver: that will search.
        source: `[T, 3, H, W]`.
        static_prompt: what the source shows.
        effort: how much is rendered.
        seed: of the search.

    Returns:
        What was seen, and the frames `[T, 3, H, W]` of each look.
    """
    beside = problem.beside()
    rng = np.random.default_rng([seed, 1])  # beside that of the search
    start = beside.evaluate(
        torch.zeros(beside.dim), gradient=beside.critic.differentiable, frames=True
    )
    groups = {"start": start}
    untuned = torch.zeros(effort.noises - 1, beside.dim)
    seeds = rng.integers(2**31, size=len(untuned)).tolist()
    groups["noise"] = _evaluated(beside, untuned, seeds)
    steps = _steps(beside, start[0], effort.steps)
    groups["step"] = _evaluated(beside, steps, [beside.conditioning.seed] * len(steps))
    groups["draw"] = _evaluated(beside, *_draws(beside, solver, effort.draws, seed))
    kept = max(problem.conditioning.prefix_frames_kept - 1, 0)
    every = [(kind, each) for kind, group in groups.items() for each in group]
    looks = tuple(Look(kind, each.p_yes, *motion(_frames(each)[kept:])) for kind, each in every)
    seen = Probe(
        problem.prompt,
        static_prompt,
        motion(source[kept:]),
        _slope(beside, start[0]),
        looks,
        beside.meter.spent(),
    )
    return seen, [_frames(each) for _, each in every]


def _evaluated(problem: EditProblem, z: Tensor, seeds: Sequence[int]) -> list[Evaluation]:
    return problem.evaluate(z, frames=True, seed=list(seeds)) if len(z) else []


def _steps(problem: EditProblem, start: Evaluation, count: int) -> Tensor:
    """Candidates `[count, k]` down the gradient; none where there is no gradient."""
    if start.gradient is None or not start.finite or not count:
        return torch.zeros(0, problem.dim)
    lengths = problem.space.rate * torch.tensor(STEPS[:count], device=problem.device)
    return -lengths[:, None] * normalised(start.gradient)


def _draws(problem: EditProblem, solver: Solver, count: int, seed: int) -> tuple[Tensor, list[int]]:
    """Candidates `[count, k]` and the seeds of their noise."""
    looker = copy.copy(solver) if isinstance(solver, Hybrid) else Hybrid(vary_noise=True)
    looker.setup(problem, np.random.default_rng(seed))
    seeds = looker.seeds[looker.line :]
    chosen = evenly(len(seeds), count)
    return looker.moves[chosen], [seeds[index] for index in chosen]


def evenly(length: int, count: int) -> list[int]:
    """`count` of `length` positions, the first and the last among them; all if there are fewer."""
    positions: list[int] = (
        np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()
    )
    return positions


def _slope(problem: EditProblem, start: Evaluation) -> float | None:
    """d log odds = -d(-log P) / (1 - P) along the gradient, which is the loss's."""
    if start.gradient is None or not start.finite:
        return None
    length = problem.space.sigma * problem.dim**0.5
    return float(start.gradient.norm()) * length / max(1 - start.p_yes, 1e-3)


def _frames(evaluation: Evaluation) -> Tensor:
    assert evaluation.frames is not None  # asked for
    return evaluation.frames.float().nan_to_num()


def motion(frames: Tensor) -> tuple[float, float]:
    """Mean absolute change from frame to frame, and the largest as a multiple of it."""
    if len(frames) < 2:
        return 0.0, 1.0
    changes = (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))
    mean = float(changes.mean())
    return mean, float(changes.max()) / mean if mean > 0 else 1.0
