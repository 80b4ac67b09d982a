"""What options a plugin takes, read off the annotations of its class or factory."""

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from sparks.errors import SparksError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def option_types(factory: Callable[..., Any]) -> "dict[str, TypeAdapter[Any]]":
    """What checks each annotated option of a plugin, nested ones too.

    Annotations that only type checkers import are resolved as well.

    Raises:
        SparksError: one that cannot be resolved, or is of no kind that can be checked.
    """
    return {name: option_type(factory, name, hint) for name, hint in option_hints(factory).items()}


def option_hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a plugin's options by name, those for type checkers resolved as well.

    Raises:
        SparksError: one that cannot be resolved.
    """
    factory = getattr(factory, "func", factory)  # a variant is a partial
    function = factory.__init__ if inspect.isclass(factory) else factory
    if not inspect.isfunction(function):
        return {}
    try:
        hints = get_type_hints(
            function, localns=_imported_for_checkers(function.__module__), include_extras=True
        )
    except (NameError, TypeError) as error:
        raise _uncheckable(factory, "options", error) from error
    hints.pop("return", None)
    return hints


def option_type(factory: Callable[..., Any], name: str, hint: Any) -> "TypeAdapter[Any]":
    """What checks the tuple of one value of an annotation.

    Raises:
        SparksError: it is of no kind that can be checked.
    """
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter
    from pydantic_core import SchemaError

    strict = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
    try:
        # In a tuple, since pydantic takes no settings beside a class that has its own.
        return TypeAdapter(tuple[hint], config=strict)
    except (TypeError, PydanticUserError, SchemaError) as error:
        raise _uncheckable(factory, f"option {name}", error) from error


def _uncheckable(factory: Callable[..., Any], what: str, error: Exception) -> SparksError:
    factory = getattr(factory, "func", factory)
    return SparksError(
        f"the {what} of {factory.__module__}.{factory.__qualname__} cannot be checked "
        f"({str(error).strip().splitlines()[-1].strip()}); correct its annotations"
    )


def field_names(hint: Any) -> list[str]:
    """Names of the options of a nested class, as far as they can be told."""
    return [each.name for each in fields(hint)] if is_dataclass(hint) else []


@functools.cache
def _imported_for_checkers(module: str) -> dict[str, Any]:
    """What a module imports for type checkers only, imported."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not Path(file).is_file():
        return {}
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and _for_checkers(node.test)]
    return {
        alias.asname or alias.name: getattr(import_module(source), alias.name)
        for block in blocks
        for source, aliases in _imports(block)
        for alias in aliases
        if hasattr(import_module(source), alias.name)
    }


def _for_checkers(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _imports(block: ast.If) -> Iterator[tuple[str, list[ast.alias]]]:
    for node in block.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.names
