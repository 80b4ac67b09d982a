"""Plugins from the user's options, checked against their signatures."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from sparks.errors import SparksError
from sparks.settings.yaml import Settings


def construct(kind: str, factory: Callable[..., Any], options: Settings, **given: Any) -> Any:
    """Call a plugin with the user's options and what the program gives every plugin of its kind.

    What a plugin does not take of the program's offer is left out; a user's option it does not
    take is an error.

    Raises:
        SparksError: naming the option and the known ones, or the value that was refused.
    """
    parameters = inspect.signature(factory).parameters
    known = [name for name in parameters if name not in given]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in known and not open_ended:
            raise SparksError(unknown(f"{kind}.{name}", name, known))
    accepted = {k: v for k, v in given.items() if k in parameters or open_ended}
    checked = {name: _typed(kind, factory, name, value) for name, value in options.items()}
    try:
        return factory(**accepted, **checked)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise SparksError(f"{kind} refuses {shown or 'its settings'}: {error}") from error


def _typed(kind: str, factory: Callable[..., Any], name: str, value: Any) -> Any:
    """`value` as the annotation of the plugin's parameter wants it, where there is one."""
    factory = getattr(factory, "func", factory)  # a variant is a partial
    try:
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
        adapter = TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True))
    except (KeyError, NameError, TypeError, PydanticUserError):
        return value  # not annotated, or not in a way that can be checked
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise SparksError(f"{kind}.{name}={value!r} is not usable: {reason}") from None


def unknown(key: str, last: str, known: Iterable[str]) -> str:
    """What to say of a setting `key` that ends in `last`, where others are known."""
    known = list(known)
    close = difflib.get_close_matches(last, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown setting {key!r}{meant} (known here: {', '.join(known)})"
