"""A value is taken as it was written, or refused: true is not 1, "3" is not 3, 3.0 not 3."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel

from sparks.errors import SparksError, shorten

_FINAL = "guidance.final."  # whose render says so itself, with what the search found written
_WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_kinds(given: Any, taken: Any, key: str = "") -> None:
    """Compare what was written with what was made of it.

    A whole number may stand for any number; nothing else is turned into another kind. Infinity and
    what is no number are refused wherever they stand, but in `guidance.final`.

    Args:
        given: tables, lists and single values, as YAML has them.
        taken: the models, data classes, tuples and single values that were made of them.
        key: of the value, for the message.

    Raises:
        SparksError: naming the key, its value and what is wanted.

    Examples:
        >>> check_kinds({"lr": 1}, {"lr": 1.0})
        >>> check_kinds({"seed": True}, {"seed": 1})
        Traceback (most recent call last):
        ...
        sparks.errors.SparksError: seed=True is not usable: give a whole number
    """
    if isinstance(given, float) and not math.isfinite(given) and not key.startswith(_FINAL):
        raise SparksError(f"{key}={given} is not usable: give a finite number")
    if _turned(type(given), type(taken)):
        text = shorten(repr(given))
        raise SparksError(f"{key}={text} is not usable: give {_WANTED[type(taken)]}")
    for name, inner, made in _pairs(given, taken):
        check_kinds(inner, made, f"{key}.{name}".lstrip("."))


def _turned(given: type, taken: type) -> bool:
    """Whether one kind of value was made of another, other than a number of a whole one."""
    return (
        {given, taken} <= _WANTED.keys() and given is not taken and (given, taken) != (int, float)
    )


def _pairs(given: Any, taken: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each value inside `given` with its name, and what was made of it where that can be told."""
    if isinstance(given, Mapping):
        yield from ((name, inner, _part(taken, name)) for name, inner in given.items())
    elif isinstance(given, list | tuple):
        made = taken if isinstance(taken, list | tuple) and len(taken) == len(given) else given
        yield from ((str(n), *pair) for n, pair in enumerate(zip(given, made, strict=True)))


def _part(taken: Any, name: str) -> Any:
    if isinstance(taken, Mapping):
        return taken.get(name)
    return (
        getattr(taken, name, None) if isinstance(taken, BaseModel) or is_dataclass(taken) else None
    )
