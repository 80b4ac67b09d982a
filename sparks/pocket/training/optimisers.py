"""Muon for the matrices inside a network, AdamW for all else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

OUTER = ("proj_in", "proj_out", "lm_head")
SMALLEST = 24  # side of a matrix that is worth making orthogonal


def optimisers(
    modules: Iterable[nn.Module], rate: float, matrix_rate: float | None, weight_decay: float
) -> list[Optimizer]:
    """What steps the modules' parameters.

    Muon reaches the same loss of these transformers in a fraction of AdamW's steps; its updates are
    scaled to those of AdamW ("match_rms_adamw").

    Args:
        rate: of AdamW.
        matrix_rate: of Muon; None leaves everything to AdamW.
    """
    modules = list(modules)
    every = [p for module in modules for p in module.parameters() if p.requires_grad]
    matrices = [] if matrix_rate is None else list(_matrices(modules))
    taken = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in every if id(parameter) not in taken]
    steppers: list[Optimizer] = [
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
    ]
    if matrices and matrix_rate is not None:
        steppers.append(
            Muon(
                matrices, lr=matrix_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return steppers


class Muon(torch.optim.Muon):
    """Torch's Muon; on a GPU it takes all matrices of one shape at once.

    One by one, launching their kernels takes longer than a small model's whole step.
    """

    def step(self, closure: Any = None) -> Any:
        """One update of every matrix that has a gradient."""
        if not self.param_groups[0]["params"][0].is_cuda:
            return super().step(closure)
        self.step_alike()
        return None

    @torch.no_grad()
    def step_alike(self) -> None:
        """The same update, the matrices of each shape together."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for parameters in alike.values():
                self._update(group, parameters)

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for parameter in parameters:
            self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
        averages = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, averages, group["momentum"])  # Nesterov
        whitened = _whitened(torch.stack(ahead), group["ns_coefficients"], group["ns_steps"])
        rate = 0.2 * math.sqrt(max(parameters[0].shape)) * group["lr"]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(whitened.to(parameters[0].dtype)), alpha=-rate)


def _whitened(stack: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """`stack [n, rows, columns]` with all singular values near 1, by Newton and Schulz."""
    a, b, c = coefficients
    tall = stack.shape[1] > stack.shape[2]
    x = (stack.mT if tall else stack).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _matrices(modules: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    """Weights of the linear layers, but of those that take data in or give it out."""
    for module in modules:
        for name, layer in module.named_modules():
            outside = not name or name.endswith(OUTER)
            if not isinstance(layer, nn.Linear) or outside or not layer.weight.requires_grad:
                continue
            if min(layer.weight.shape) >= SMALLEST:
                yield cast(nn.Parameter, layer.weight)
