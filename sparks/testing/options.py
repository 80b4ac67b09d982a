"""The check of a plugin's options."""

from collections.abc import Callable
from typing import Any


def check_options(factory: Callable[..., Any]) -> None:
    """Check that every annotated option of a plugin can be set by users and is checked for them.

    Args:
        factory: the plugin's class, or what makes it.

    Raises:
        AssertionError: an annotation that cannot be resolved, or is of no kind that can be checked.
    """
    from sparks.errors import SparksError
    from sparks.signatures import option_types

    try:
        option_types(factory)
    except SparksError as error:
        raise AssertionError(str(error)) from error
