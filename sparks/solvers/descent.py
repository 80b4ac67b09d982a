"""What the solvers that follow a gradient share."""

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell
from sparks.solvers.sampling import check_patience


class Descent(AskTell):
    """One iterate that torch's optimiser moves, at a learning rate that follows the budget.

    lr(p) = floor + (lr - floor) (1 + cos(pi p)) / 2, with p the share of the budget spent.

    Args:
        lr: learning rate at the start; the `rate` of the space that is searched if None.
        lr_schedule: `cosine`, or `constant`.
        lr_floor: the rate at the end of the cosine, as a share of `lr`.
        patience: evaluations without a new best after which the driver stops; None for never.
        min_delta: how much lower than the best a total must be to be the new best.

    Raises:
        SparksError: an unknown schedule, or a number out of range.
    """

    needs_gradient = True

    def __init__(
        self,
        lr: float | None,
        lr_schedule: str,
        lr_floor: float,
        patience: int | None,
        min_delta: float = 0.0,
    ) -> None:
        if lr_schedule not in ("cosine", "constant"):
            raise SparksError(f"lr_schedule is {lr_schedule!r}; choose cosine or constant")
        if lr is not None and not 0 < lr < math.inf:
            raise SparksError(f"lr is {lr}; it must be positive")
        if not 0 <= lr_floor <= 1:
            raise SparksError(f"lr_floor is {lr_floor}; it is a share of lr, from 0 to 1")
        check_patience(patience, min_delta)
        self.lr, self.lr_schedule, self.lr_floor = lr, lr_schedule, lr_floor
        self.patience, self.min_delta = patience, min_delta

    @abstractmethod
    def make_optimizer(self, z: Tensor) -> torch.optim.Optimizer:
        """What moves `z [k]` in place."""

    @abstractmethod
    def shape(self, gradient: Tensor) -> Tensor:
        """What the optimiser is given for a gradient `[k]`."""

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Start at z = 0 with an optimiser that has seen nothing."""
        self.peak = problem.space.rate if self.lr is None else self.lr
        self.z = torch.zeros(problem.dim, device=problem.device)
        self.optimizer = self.make_optimizer(self.z)

    def ask(self) -> Tensor:
        """The one current iterate `[1, k]`."""
        return self.z.clone()[None]  # the optimiser writes in place; what was evaluated stays

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """One update from the gradient of the last evaluation."""
        gradient = evaluations[-1].gradient
        assert gradient is not None  # asked for through `needs_gradient`
        self.z.grad = self.shape(gradient)
        self.optimizer.param_groups[0]["lr"] = self._rate(progress)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors and numbers."""
        return {"z": self.z, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; call after `setup`."""
        self.z.copy_(state["z"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _rate(self, progress: float) -> float:
        if self.lr_schedule == "constant":
            return self.peak
        floor = self.peak * self.lr_floor
        return floor + (self.peak - floor) * (1 + math.cos(math.pi * progress)) / 2
