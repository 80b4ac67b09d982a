"""Descent along the gradient's direction, whatever its length."""

import math

import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.solvers.descent import Descent


class NGD(Descent):
    """Normalised gradient descent: z <- z - lr(p) m, with m a running mean of `sqrt(k) g / |g|`.

    So a step moves the coordinates by `lr` in the root mean square, be the critic's answer flat or
    steep there. Unlike Adam's, it keeps their gradients' proportions.

    Args:
        lr: move of a coordinate per step at the start, root mean square, in the space's unit.
        lr_schedule: `cosine`, or `constant`; see `sparks.solvers.descent`.
        lr_floor: the rate at the end of the cosine, as a share of `lr`.
        momentum: decay of the running mean; 0 follows the last gradient alone.
        patience: evaluations without a new best after which the driver stops; None for never.
        min_delta: how much lower than the best a total must be to be the new best.

    Raises:
        SparksError: an unknown schedule, or a number out of range.
    """

    def __init__(
        self,
        *,
        lr: float = 0.02,
        lr_schedule: str = "cosine",
        lr_floor: float = 0.01,
        momentum: float = 0.5,
        patience: int | None = 15,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(lr, lr_schedule, lr_floor, patience, min_delta)
        if not 0 <= momentum < 1:
            raise SparksError(f"momentum is {momentum}; it must be at least 0 and below 1")
        self.momentum = momentum

    def make_optimizer(self, z: Tensor) -> torch.optim.Optimizer:
        """Torch's SGD, its momentum an average."""
        return torch.optim.SGD([z], self.peak, self.momentum, dampening=self.momentum)

    def shape(self, gradient: Tensor) -> Tensor:
        """Scaled to a mean square of 1."""
        return normalised(gradient)


def normalised(gradient: Tensor) -> Tensor:
    """`gradient [k]` scaled to a mean square of 1; zero stays zero."""
    return gradient * (math.sqrt(gradient.numel()) / gradient.norm().clamp_min(1e-30))
