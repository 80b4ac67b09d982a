"""When Python looks for garbage in cycles: not while much is made that stays."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Inside, no garbage is looked for; what was made there counts as old afterwards.

    Importing torch, diffusers and transformers makes a million objects that stay. Python would go
    through all of them again and again as they become more, for a quarter of the time that takes.

    Examples:
        >>> with no_collection():
        ...     gc.isenabled()
        False
        >>> gc.isenabled()
        True
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.freeze()  # and back: from the youngest to the oldest without a look at any
            gc.unfreeze()
            gc.enable()
