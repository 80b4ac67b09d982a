"""What makes training quick on the machine at hand: half precision, compiling, plain attention."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

WORTH_COMPILING = 300  # steps; compiling takes a minute


def half(device: torch.device) -> bool:
    """Whether bfloat16 is quick: on a GPU, and on a CPU that has instructions for it."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where it is quick, nothing elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=half(device))


def compiles(device: torch.device, steps: int) -> bool:
    """Whether to compile for so many steps; on a CPU that takes a C++ compiler."""
    able = device.type == "cuda" or (half(device) and shutil.which("g++") is not None)
    return able and steps >= WORTH_COMPILING


def replayed(module: nn.Module, given: tuple[Tensor, ...]) -> Callable[..., Any]:
    """`module` for arguments like `given`, on a GPU as CUDA graphs, its backward pass too.

    A small model's kernels take less time than launching them one by one.
    """
    if not given[0].is_cuda:
        return module
    return torch.cuda.make_graphed_callables(module, given, allow_unused_input=True)


def plain_attention(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Attention in bfloat16 on a CPU as plain products; going back, the fused one is very slow."""
    return _PlainAttention() if device.type == "cpu" else contextlib.nullcontext()


class _PlainAttention(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        call = _attend if func is F.scaled_dot_product_attention else func
        return call(*args, **(kwargs or {}))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
) -> Tensor:
    special = options.get("is_causal") or options.get("enable_gqa") or options.get("dropout_p")
    if value.dtype != torch.bfloat16 or special:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, **options)
    query, key = query.to(value.dtype), key.to(value.dtype)  # wider after their rotation
    scores = query * (options.get("scale") or query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.float().softmax(-1).to(value.dtype) @ value
