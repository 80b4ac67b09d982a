"""Plugins from the user's options, checked against their signatures."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

from pydantic import ValidationError

from sparks.errors import SparksError, shorten
from sparks.models.memory import is_out_of_memory
from sparks.settings.kinds import check_kinds
from sparks.settings.yaml import Settings
from sparks.signatures import field_names, option_hints, option_type


def construct(kind: str, factory: Callable[..., Any], options: Settings, **given: Any) -> Any:
    """Call a plugin with the user's options and what the program gives every plugin of its kind.

    What a plugin does not take of the program's offer is left out; a user's option it does not
    take is an error.

    Raises:
        SparksError: naming the option and the known ones, or the value that was refused.
    """
    checked = check_options(kind, factory, options, given)
    parameters = inspect.signature(factory).parameters
    accepted = {k: v for k, v in given.items() if k in parameters or _open_ended(factory)}
    try:
        return factory(**accepted, **checked)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{name}={shorten(repr(value))}" for name, value in options.items())
        raise SparksError(f"{kind} refuses {shown or 'its settings'}: {error}") from error
    except Exception as error:  # foreign code may fail in any way
        if isinstance(error, SparksError) or is_out_of_memory(error):
            raise
        raise SparksError(
            f"{kind} {getattr(factory, '__name__', factory)} failed with {type(error).__name__}: "
            f"{shorten(error, 300)}; SPARKS_DEBUG=1 shows where"
        ) from error


def check_options(
    kind: str, factory: Callable[..., Any], options: Settings, given: Collection[str]
) -> Settings:
    """The user's options as a plugin's annotations want them; nothing is built.

    Args:
        kind: of the plugin, for messages.
        factory: the plugin.
        options: the user's.
        given: names of what the program gives, which are no options.

    Raises:
        SparksError: naming the option and the known ones, or the value that is refused.
    """
    parameters = inspect.signature(factory).parameters
    names = [name for name in parameters if name not in given]
    for name in options:
        if name not in names and not _open_ended(factory):
            raise SparksError(unknown(f"{kind}.{name}", name, names))
    return {name: _typed(kind, factory, name, value) for name, value in options.items()}


def _open_ended(factory: Callable[..., Any]) -> bool:
    parameters = inspect.signature(factory).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _typed(kind: str, factory: Callable[..., Any], name: str, value: Any) -> Any:
    """`value` as the annotation of the plugin's parameter wants it, where there is one."""
    hints = option_hints(factory)
    if name not in hints:
        return value
    try:
        taken = option_type(factory, name, hints[name]).validate_python((value,))[0]
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join([kind, name, *map(str, first["loc"][1:])])
        if first["type"] == "unexpected_keyword_argument":
            raise SparksError(
                unknown(path, path.rpartition(".")[2], field_names(hints[name]))
            ) from None
        text = shorten(repr(first["input"]))
        raise SparksError(f"{path}={text} is not usable: {first['msg']}") from None
    check_kinds(value, taken, f"{kind}.{name}")
    return taken


def unknown(key: str, last: str, names: Iterable[str]) -> str:
    """What to say of a setting `key` that ends in `last`, where others are known."""
    names = list(names)
    close = difflib.get_close_matches(last, names, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown setting {shorten(key)!r}{meant} (known here: {', '.join(names)})"
