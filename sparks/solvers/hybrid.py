"""A look around before the descent: for edits whose gradient at the start leads nowhere."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.problem import EditProblem, Evaluation
from sparks.solvers.adam import Adam
from sparks.solvers.ngd import normalised
from sparks.solvers.sampling import draw, fitting
from sparks.spaces.low import TemporalSpace

SMALL = 1000  # coordinates up to which a space is drawn from as it is


class Hybrid(Adam):
    """One batch of candidates around the start, then Adam from the best of them.

    The batch holds `line` steps down the start's normalised gradient, the longest `reach` and each
    other half the one before, and `population` random moves: in a space of many coordinates smooth
    ones, see `sparks.spaces.low.TemporalSpace`. All are evaluated with their gradients, so that
    Adam goes on at once from whichever is best, the start included.

    Args:
        line: steps along the gradient.
        reach: longest of them, root mean square over the coordinates, in the space's unit.
        population: random moves.
        sigma: standard deviation of their coordinates.
        lr: of Adam; the `rate` of the space that is searched if None.
        lr_schedule: `cosine`, or `constant`; see `sparks.solvers.adam`, as the others.
        lr_floor: the rate at the end of the cosine, as a share of `lr`.
        betas: decay of the two moments.
        patience: evaluations without a new best after which the driver stops; None for never.

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
        lr: float | None = None,
        lr_schedule: str = "cosine",
        lr_floor: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        patience: int | None = None,
    ) -> None:
        super().__init__(
            lr=lr, lr_schedule=lr_schedule, lr_floor=lr_floor, betas=betas, patience=patience
        )
        if min(line, population) < 0 or line + population < 1:
            raise SparksError(
                f"line is {line}, population is {population}; give at least one candidate"
            )
        if not (0 < reach < math.inf and 0 < sigma < math.inf):
            raise SparksError(f"reach is {reach}, sigma is {sigma}; both must be positive")
        self.line, self.reach, self.population, self.sigma = line, reach, population, sigma

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Start at z = 0; the random moves are drawn at once."""
        super().setup(problem, rng)
        self.problem = problem
        self.moves = _moves(problem, rng, self.population, self.sigma)
        self.start: dict[str, Any] = {}  # total and gradient, until the batch has been told
        self.looked = False

    def ask(self) -> Tensor:
        """The batch once, as much of it as the budget allows; then Adam's iterate."""
        if not self.start or self.looked:
            return super().ask()
        self.looked = True
        down = -normalised(self.start["gradient"])
        steps = self.reach * 0.5 ** torch.arange(self.line, device=down.device)
        batch = torch.cat([steps[:, None] * down, self.moves])
        return batch[: fitting(self.problem, len(batch))]

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Keep the start; take the best of the batch; from then on, Adam's update."""
        best = min(evaluations, key=lambda evaluation: evaluation.total)
        if best.index == 0:
            self.start = {"total": best.total, "gradient": best.gradient}
            return
        if self.start:
            if best.total < self.start["total"]:
                self.z.copy_(best.z)
            else:
                best = replace(best, gradient=self.start["gradient"])
            self.start = {}
        super().tell([best], progress)

    def state_dict(self) -> dict[str, Any]:
        """Adam's, and what the batch will be compared with."""
        return {**super().state_dict(), "start": self.start, "looked": self.looked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; call after `setup`."""
        super().load_state_dict(state)
        self.start, self.looked = dict(state["start"]), state["looked"]


def _moves(problem: EditProblem, rng: np.random.Generator, count: int, sigma: float) -> Tensor:
    """Random candidates `[count, k]`."""
    space = problem.space
    if space.dim <= SMALL:
        return sigma * draw(rng, count, space.dim).to(problem.device)
    smooth = TemporalSpace(space.decode(torch.zeros(1, space.dim, device=problem.device)))
    z = sigma * draw(rng, count, smooth.dim).to(problem.device)
    return space.encode(smooth.decode(z))
