"""Code of plugins, which may fail in any way: told in one line that names them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sparks.errors import SparksError, shorten
from sparks.models.memory import is_out_of_memory


@contextmanager
def blaming(kind: str, plugin: Any, *passing: type[Exception]) -> Iterator[None]:
    """Inside, a plugin is at work; its errors become one line, ours and lack of memory stay.

    Args:
        kind: of the plugin.
        plugin: an instance of it.
        passing: what goes through it from elsewhere.

    Raises:
        SparksError: naming the plugin and what it raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (SparksError, *passing)) or is_out_of_memory(error):
            raise
        raise SparksError(
            f"{kind} {type(plugin).__name__} failed with {type(error).__name__}: "
            f"{shorten(error, 300)}; SPARKS_DEBUG=1 shows where"
        ) from error
