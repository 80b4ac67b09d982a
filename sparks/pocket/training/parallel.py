"""Several processes that train one model together, each on its own device.

    torchrun --nproc-per-node 2 -m sparks.pocket.cli train --output my-model

Each process draws its share of every batch and the gradients are averaged, so that the work is that
of one process, and what it makes too but for chance. Alone, everything here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn


def join(device: torch.device) -> torch.device:
    """Meet the other processes that `torchrun` started, if it did; returns the own device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Of this process; 0 is the one that writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(count: int) -> int:
    """What one process does of `count`."""
    return max(1, round(count / size()))


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; one that is missing counts as 0."""
    if size() == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.div_(size()).split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


def agreed(value: float, device: torch.device) -> float:
    """The first process's value."""
    if size() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return float(shared)


def wait() -> None:
    """Until all processes are here."""
    if size() > 1:
        dist.barrier()
