"""A look around before the descent: for edits whose gradient at the start leads nowhere."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.solvers.adam import Adam
from sparks.solvers.ngd import normalised
from sparks.solvers.sampling import draw, fitting
from sparks.spaces.low import TemporalSpace

SMALL = 1000  # coordinates up to which a space is drawn from as it is


class Hybrid(Adam):
    """One batch of candidates around the start, then Adam from the best of them.

    The batch holds `line` steps down the start's normalised gradient, the longest `reach` and each
    other half the one before, and `population` random moves: in a space of many coordinates smooth
    ones, see `sparks.spaces.low.TemporalSpace`. They go out from the start and from the landmarks
    of the space, if it has any, by turns. None needs a gradient; whichever is best, the start
    included, is evaluated again with its own, under its own noise, and Adam goes on from there.

    Args:
        line: steps along the gradient.
        reach: longest of them, root mean square over the coordinates, in the space's unit.
        population: random moves.
        sigma: standard deviation of their coordinates.
        nearest: share of it that the first move from each place has; it grows evenly to all of it.
        vary_noise: each move under noise of its own, so that the noise is searched as well.
        lr: of Adam; the `rate` of the space that is searched if None.
        lr_schedule: `cosine`, or `constant`; see `sparks.solvers.adam`, as the others.
        lr_floor: the rate at the end of the cosine, as a share of `lr`.
        betas: decay of the two moments.
        patience: evaluations without a new best after which the driver stops; None for never.
        min_delta: how much lower than the best a total must be to be the new best.

    Raises:
        SparksError: an unknown schedule, or a number out of range.
    """

    def __init__(
        self,
        *,
        line: int = 0,
        reach: float = 0.2,
        population: int = 15,
        sigma: float = 1.5,
        nearest: float = 1.0,
        vary_noise: bool = False,
        lr: float | None = None,
        lr_schedule: str = "cosine",
        lr_floor: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        patience: int | None = None,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(
            lr=lr,
            lr_schedule=lr_schedule,
            lr_floor=lr_floor,
            betas=betas,
            patience=patience,
            min_delta=min_delta,
        )
        if min(line, population) < 0 or line + population < 1:
            raise SparksError(
                f"line is {line}, population is {population}; give at least one candidate"
            )
        if not (0 < reach < math.inf and 0 < sigma < math.inf):
            raise SparksError(f"reach is {reach}, sigma is {sigma}; both must be positive")
        if not 0 <= nearest <= 1:
            raise SparksError(f"nearest is {nearest}; it is a share, from 0 to 1")
        self.line, self.reach, self.population, self.sigma = line, reach, population, sigma
        self.nearest, self.varies_noise = nearest, vary_noise

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Start at z = 0; the random moves and their noise are drawn at once."""
        super().setup(problem, rng)
        self.problem = problem
        self.moves = self._moves(problem, rng)
        self.seeds = [problem.conditioning.seed] * self.line
        self.seeds += [
            int(rng.integers(2**31)) if self.varies_noise else problem.conditioning.seed
            for _ in range(self.population)
        ]
        self.start: dict[str, Any] = {}  # total and gradient, until the batch has been told
        self.looked = False
        self.needs_gradient = self.line > 0
        self.noise = problem.conditioning.seed

    def ask(self) -> Tensor:
        """The batch once, as much of it as the budget allows; then Adam's iterate."""
        if not self.start or self.looked:
            self.needs_gradient = True
            return super().ask()
        self.looked, self.needs_gradient = True, False
        batch = torch.cat([self._steps(), self.moves])
        size = fitting(self.problem, len(batch))
        self.noise = self.seeds[:size]
        return batch[:size]

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Keep the start; take the best of the batch; from then on, Adam's update."""
        if evaluations[0].index == 0:
            self.start = {"total": evaluations[0].total, "gradient": evaluations[0].gradient}
        elif self.start:
            self.noise = self.problem.conditioning.seed
            best = min(evaluations, key=lambda each: (math.isnan(each.total), each.total))
            if best.total < self.start["total"]:
                self.z.copy_(best.z)
                self.noise = best.seed
            self.start = {}
        else:
            super().tell(evaluations, progress)

    def state_dict(self) -> dict[str, Any]:
        """Adam's, what the batch will be compared with, and the noise."""
        own = {"start": self.start, "looked": self.looked, "noise": self.noise}
        return {**super().state_dict(), **own, "needs_gradient": self.needs_gradient}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; call after `setup`."""
        super().load_state_dict(state)
        self.start, self.looked = dict(state["start"]), state["looked"]
        self.noise = state.get("noise", self.noise)  # states of 0.1.0 lack these
        self.needs_gradient = state.get("needs_gradient", True)

    def _steps(self) -> Tensor:
        """Candidates `[line, k]` down the start's gradient."""
        if not self.line:
            return self.moves[:0]
        down = -normalised(self.start["gradient"])
        steps = self.reach * 0.5 ** torch.arange(self.line, device=down.device)
        return steps[:, None] * down

    def _moves(self, problem: EditProblem, rng: np.random.Generator) -> Tensor:
        """Random candidates `[population, k]`, from the start and the landmarks by turns."""
        space, count, device = problem.space, self.population, problem.device
        marks = torch.zeros(1, space.dim, device=device)
        marks = torch.cat([marks, getattr(space, "landmarks", marks[:0]).to(device)])
        turn = torch.arange(count, device=device)
        rounds = max(1, (count - 1) // len(marks))
        share = self.nearest + (1 - self.nearest) * (turn // len(marks) / rounds)
        sigma = self.sigma * share[:, None]
        if space.dim <= SMALL:
            drawn = sigma * draw(rng, count, space.dim).to(device)
        else:
            smooth = TemporalSpace(space.decode(marks[:1]))
            moves = sigma * draw(rng, count, smooth.dim).to(device)
            drawn = space.encode(smooth.decode(moves))
        return marks[turn % len(marks)] + drawn
