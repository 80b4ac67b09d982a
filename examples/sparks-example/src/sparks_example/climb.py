"""A solver without gradients: try something near the best so far."""

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell


class HillClimb(AskTell):
    """A step in a random direction from the best candidate, kept if it is better.

    Args:
        sigma: standard deviation of each coordinate of a step, in the space's unit.
    """

    default_space = {"name": "temporal"}  # noqa: RUF012

    def __init__(self, *, sigma: float = 0.3) -> None:
        if sigma <= 0:
            raise SparksError(f"sigma is {sigma}; it must be positive")
        self.sigma = sigma

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Nothing is known yet."""
        self.rng, self.best = rng, None

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Remember the best."""
        for evaluation in evaluations:
            if self.best is None or evaluation.total < self.best.total:
                self.best = evaluation

    def ask(self) -> Tensor:
        """One candidate `[1, k]`."""
        step = self.rng.standard_normal(len(self.best.z), dtype=np.float32)
        return self.best.z[None] + self.sigma * torch.from_numpy(step).to(self.best.z)
