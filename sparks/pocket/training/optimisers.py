"""Muon for the matrices inside a network, AdamW for all else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import nn
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
    found: list[Optimizer] = [
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
    ]
    if matrices and matrix_rate is not None:
        found.append(
            torch.optim.Muon(
                matrices, lr=matrix_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return found


def _matrices(modules: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    """Weights of the linear layers, but of those that take data in or give it out."""
    for module in modules:
        for name, layer in module.named_modules():
            outside = not name or name.endswith(OUTER)
            if not isinstance(layer, nn.Linear) or outside or not layer.weight.requires_grad:
                continue
            if min(layer.weight.shape) >= SMALLEST:
                yield cast(nn.Parameter, layer.weight)
