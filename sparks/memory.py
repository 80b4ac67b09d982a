"""Running out of memory: how it is recognised, on a CPU and on CUDA."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sparks.errors import SparksError

_SIGNS = ("not enough memory", "can't allocate memory", "out of memory", "alloc_failed")


class OutOfMemory(SparksError):
    """One candidate alone needs more memory than there is."""

    def __init__(self) -> None:
        super().__init__(
            "out of memory with one candidate at a time; free some, or start anew with a smaller "
            "clip.size, clip.num_frames or sampling.grad_steps, or dtype=bfloat16"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory could not be had."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """What cannot be split: when memory runs out inside, that is an `OutOfMemory`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemory from error
        raise


def release_memory() -> None:
    """Give back what a failed render left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
