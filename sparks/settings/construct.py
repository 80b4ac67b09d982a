"""Plugins from the user's options, checked against their signatures."""

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError

from sparks.errors import SparksError, shorten
from sparks.settings.yaml import Settings
from sparks.signatures import field_names, option_hints, option_type


def construct(kind: str, factory: Callable[..., Any], options: Settings, **given: Any) -> Any:
    """Call a plugin with the user's options and what the program gives every plugin of its kind.

    What a plugin does not take of the program's offer is left out; a user's option it does not
    take is an error.

    Raises:
        SparksError: naming the option and the known ones, or the value that was refused.
    """
    parameters = inspect.signature(factory).parameters
    options_known = [name for name in parameters if name not in given]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in options_known and not open_ended:
            raise SparksError(unknown(f"{kind}.{name}", name, options_known))
    accepted = {k: v for k, v in given.items() if k in parameters or open_ended}
    checked = {name: _typed(kind, factory, name, value) for name, value in options.items()}
    try:
        return factory(**accepted, **checked)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{name}={shorten(repr(value))}" for name, value in options.items())
        raise SparksError(f"{kind} refuses {shown or 'its settings'}: {error}") from error


def _typed(kind: str, factory: Callable[..., Any], name: str, value: Any) -> Any:
    """`value` as the annotation of the plugin's parameter wants it, where there is one."""
    hints = option_hints(factory)
    if name not in hints:
        return value
    try:
        return option_type(factory, name, hints[name]).validate_python((value,))[0]
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([kind, name, *map(str, first["loc"][1:])])
        if first["type"] == "unexpected_keyword_argument":
            raise SparksError(
                unknown(path, path.rpartition(".")[2], field_names(hints[name]))
            ) from None
        text = shorten(repr(first["input"]))
        raise SparksError(f"{path}={text} is not usable: {first['msg']}") from None


def unknown(key: str, last: str, names: Iterable[str]) -> str:
    """What to say of a setting `key` that ends in `last`, where others are known."""
    names = list(names)
    close = difflib.get_close_matches(last, names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown setting {shorten(key)!r}{meant} (known here: {', '.join(names)})"
