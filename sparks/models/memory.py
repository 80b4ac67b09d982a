"""Running out of memory: how it is recognised, on a CPU and on CUDA."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparks.errors import SparksError

_SIGNS = (
    *("not enough memory", "can't allocate memory", "out of memory", "alloc_failed"),
    *("could not create a primitive", "could not create a memory"),  # oneDNN's
)


class OutOfMemory(SparksError):
    """What cannot be split further needs more memory than there is.

    Args:
        what: was being done.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"out of memory while {what}; free some, or start anew with a smaller clip.size, "
            "clip.num_frames or sampling.grad_steps, or dtype=bfloat16"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """For what cannot be split: when memory runs out inside, that is an `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory(what) from error
        raise


def release_memory() -> None:
    """Give back what a failed render left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Most bytes held at once so far: on the device, or by this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
