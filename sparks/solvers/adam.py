"""Adam on the controls, the paper's solver."""

import math

import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.solvers.descent import Descent


class Adam(Descent):
    """Adam (Kingma and Ba 2015) with a learning rate that follows the budget.

    lr(p) = floor + (lr - floor) (1 + cos(pi p)) / 2, with p the share of the budget spent.

    Args:
        lr: learning rate at the start; the `rate` of the space that is searched if None.
        lr_schedule: `cosine`, or `constant`.
        lr_floor: the rate at the end of the cosine, as a share of `lr`.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        clip_norm: longest gradient (L2), None for no clipping.
        patience: evaluations without a new best after which the driver stops; None for never.
        min_delta: how much lower than the best a total must be to be the new best.

    Raises:
        SparksError: an unknown schedule, or a number out of range.
    """

    def __init__(
        self,
        *,
        lr: float | None = None,
        lr_schedule: str = "cosine",
        lr_floor: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        clip_norm: float | None = None,
        patience: int | None = 15,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(lr, lr_schedule, lr_floor, patience, min_delta)
        if not all(0 <= beta < 1 for beta in betas) or not 0 < eps < math.inf:
            raise SparksError(f"betas are {betas}, eps is {eps}; give 0 <= betas < 1 and eps > 0")
        if clip_norm is not None and not 0 < clip_norm < math.inf:
            raise SparksError(f"clip_norm is {clip_norm}; it must be positive, or null for none")
        self.betas, self.eps, self.clip_norm = betas, eps, clip_norm

    def make_optimizer(self, z: Tensor) -> torch.optim.Optimizer:
        """Torch's Adam."""
        return torch.optim.Adam([z], self.peak, self.betas, self.eps)

    def shape(self, gradient: Tensor) -> Tensor:
        """No longer than `clip_norm`."""
        if self.clip_norm is None:
            return gradient
        return gradient * (self.clip_norm / gradient.norm().clamp_min(1e-12)).clamp_max(1)
