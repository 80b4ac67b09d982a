"""Keeping the libraries' own bars and warnings out of what a person sees."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, diffusers and transformers report errors only and warnings are not shown.

    Their bars would run through ours, and their warnings are about the ways of other libraries.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    loggings: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(each.get_verbosity(), each.is_progress_bar_enabled()) for each in loggings]
    for each in loggings:
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, (verbosity, bars) in zip(loggings, before, strict=True):
            each.set_verbosity(verbosity)
            if bars:
                each.enable_progress_bar()
