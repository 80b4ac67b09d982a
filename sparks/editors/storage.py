"""Transformer weights that are kept small or elsewhere, and lent to a block while it runs.

A block's weights are turned into the compute dtype on the compute device when it is called, and
let go afterwards. With checkpointing the backward pass does the same block by block, so that at no
time more than one block is there at full size; without it, autograd would keep them all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sparks.editors.footprint import STORAGES
from sparks.errors import SparksError

if TYPE_CHECKING:
    from sparks.editors.levers import Levers


def check_storage(storage: str, levers: "Levers") -> None:
    """Refuse a storage that is unknown, or that these levers cannot use.

    Raises:
        SparksError: naming the storage and what is allowed.
    """
    if storage not in STORAGES:
        raise SparksError(f"storage is {storage!r}; choose {', '.join(STORAGES)}")
    if storage != "resident" and levers.need_resident:
        raise SparksError(
            f"storage {storage!r} moves weights; it needs compile, joined_projections, "
            "eight_bits and cuda_graphs off"
        )


def store(transformer: Any, storage: str, device: torch.device) -> None:
    """Place a transformer that is on the CPU, to be called on `device`.

    Args:
        transformer: in the dtype that it computes in.
        storage: `resident` for all of it on the device; `fp8` for linear weights of the blocks in
            8 bits there; `offload` for the blocks in the machine's memory.
        device: where it computes.
    """
    if storage == "resident":
        transformer.to(device)
        return
    blocks = transformer.transformer_blocks
    if storage == "fp8":
        for weight in _linear_weights(blocks):
            # Rounding is slow on a CPU.
            weight.data = weight.data.to(device).to(torch.float8_e4m3fn)
        transformer.to(device)
    else:
        transformer.transformer_blocks = nn.ModuleList()
        transformer.to(device)
        transformer.transformer_blocks = blocks
        if device.type == "cuda":
            for parameter in blocks.parameters():
                parameter.data = parameter.data.pin_memory()
    dtype = transformer.proj_in.weight.dtype
    for block in blocks:
        block.forward = _Lending(block, device, dtype)


class _Lending:
    """A block's forward that runs on copies of its weights."""

    def __init__(self, block: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.block, self.device, self.dtype = block, device, dtype
        self.places = [(module, name) for module in block.modules() for name in module._parameters]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        with self._lent():
            return type(self.block).forward(self.block, *arguments, **options)

    @contextmanager
    def _lent(self) -> Iterator[None]:
        stored = [module._parameters[name] for module, name in self.places]
        for (module, name), weight in zip(self.places, stored, strict=True):
            module._parameters[name] = self._copy(weight)  # type: ignore[assignment]
        try:
            yield
        finally:
            for (module, name), weight in zip(self.places, stored, strict=True):
                module._parameters[name] = weight

    def _copy(self, weight: Tensor | None) -> Tensor | None:
        if weight is None:
            return None
        # Moved in the stored size, then widened.
        return weight.detach().to(self.device, non_blocking=True).to(self.dtype)


def _linear_weights(blocks: nn.Module) -> Iterator[Tensor]:
    # Biases, norms and modulation tables are small, and eight bits are too few for them.
    return (module.weight for module in blocks.modules() if isinstance(module, nn.Linear))
