"""Batches in parts, when memory is too small for all of them at once."""

import logging
from collections.abc import Callable
from typing import TypeVar

from sparks.models.memory import OutOfMemory, is_out_of_memory, release_memory

log = logging.getLogger("sparks")

T = TypeVar("T")


class Halving:
    """Applies a function to a batch, in halves from the first time on that memory runs out."""

    def __init__(self) -> None:
        self._together: int | None = None  # candidates that memory allows at once

    def __call__(self, function: Callable[[slice], list[T]], count: int) -> list[T]:
        """The results of `function` for all of `count` rows, given some of them at a time.

        Raises:
            OutOfMemory: not even one row fits.
        """
        while True:
            size = min(count, self._together or count)
            try:
                parts = (slice(first, first + size) for first in range(0, count, size))
                return [result for part in parts for result in function(part)]
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of `except`, which would keep the failed render's tensors.
            release_memory()
            if size == 1:
                raise OutOfMemory("rendering one candidate")
            self._together = size // 2
            log.warning("out of memory: from here on %d candidates at a time", self._together)
