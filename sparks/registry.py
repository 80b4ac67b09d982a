"""Solvers, critics, editors, spaces, metrics and executors by name.

A name comes from a decorator, from an installed package's entry point (`sparks.solvers` and so
on), or spells out where to look: `package.module:Name` or `path/to/file.py:Name`. `NAME/VARIANT`
is the plugin NAME with the option `variant`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import sys
import zlib
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar

from sparks.errors import SparksError
from sparks.files import place

Factory = Callable[..., Any]
F = TypeVar("F", bound=Factory)
P = TypeVar("P")


class Registry:
    """The table of one kind of plugin; `kind` is the plural, as in the entry-point group."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._local: dict[str, Factory] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Decorator that adds a class or factory; a reload of the same one replaces it.

        Raises:
            SparksError: the name is taken by something else.

        Examples:
            >>> critics = Registry("critics")
            >>> @critics.register("never")
            ... class Never: ...
            >>> critics.get("never") is Never
            True
        """

        def add(factory: F) -> F:
            self._only_one(name, self.providers(name) | {_spelling(factory): "this program"})
            self._local[name] = factory
            return factory

        return add

    def names(self) -> list[str]:
        """All known names, sorted. Imports no plugin."""
        return sorted({*self._local, *entry_points(group=self._group).names})

    def origin(self, name: str) -> str:
        """Where a name comes from: `module:Name (package version)`. Imports no plugin."""
        return " and ".join(f"{where} ({who})" for where, who in self.providers(name).items())

    def get(self, name: str) -> Factory:
        """The class or factory called `name`, or found at `module:Name` or `file.py:Name`.

        Raises:
            SparksError: an unknown name, one that two packages claim, a failing import, or a
                variant of what has none.
        """
        if ":" in name:
            return self._import(name, name)
        plain, _, variant = name.partition("/")
        factory = self._find(plain)
        if not variant:
            return factory
        if "variant" not in inspect.signature(factory).parameters:
            raise SparksError(f"{plain!r} in {self.kind} has no variants; leave out /{variant}")
        return functools.partial(factory, variant=variant)

    def _find(self, name: str) -> Factory:
        providers = self.providers(name)
        self._only_one(name, providers)
        if name in self._local:
            return self._local[name]
        for where, who in providers.items():
            return self._import(f"{name!r} of {who}", where)
        raise SparksError(f"no {self.kind} named {name!r}; {self._suggest(name)}")

    def broken(self) -> dict[str, str]:
        """What is wrong with each plugin that cannot be used, by name; imports them all."""
        problems = {}
        for name in self.names():
            try:
                self.get(name)
            except SparksError as error:
                problems[name] = str(error)
        return problems

    @property
    def _group(self) -> str:
        return f"sparks.{self.kind}"

    def providers(self, name: str) -> dict[str, str]:
        """`module:Name` -> who provides it, for all that claim `name`. Imports no plugin."""
        points = entry_points(group=self._group, name=name)
        local = {_spelling(self._local[name]): "this program"} if name in self._local else {}
        return {point.value: _distribution(point) for point in points} | local

    def _only_one(self, name: str, providers: dict[str, str]) -> None:
        if len(providers) > 1:
            sides = " and ".join(f"{where} ({who})" for where, who in providers.items())
            raise SparksError(
                f"{name!r} in {self.kind} is claimed by {sides}; rename one, or say module:Name"
            )

    def _import(self, label: str, spec: str) -> Factory:
        where, _, attribute = spec.rpartition(":")
        try:
            load = _load_file if where.endswith(".py") else importlib.import_module
            plugin: Any = load(where)
            for part in attribute.split("."):
                plugin = getattr(plugin, part)
        except (Exception, SystemExit) as error:  # foreign code may fail in any way, or exit
            raise SparksError(
                f"cannot import {label} ({self.kind}): {type(error).__name__}: {error}; "
                "correct it, install what it needs, or choose another"
            ) from error
        if not callable(plugin):
            kind = type(plugin).__name__
            raise SparksError(f"{label} ({self.kind}) is a {kind}; name a class or a function")
        return plugin  # type: ignore[no-any-return]

    def _suggest(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.names(), n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        names = ", ".join(self.names()) or "none"
        return f"{meant}Known: {names}; or give module:Name or path/file.py:Name"


def declared(plugin: Any, contract: type, name: str) -> Any:
    """What a plugin, or its class before it is built, says of itself, else its contract's default.

    Args:
        plugin: an instance, a class or another factory.
        contract: the protocol of its kind, whose attributes with values are the optional ones.
        name: of the attribute.
    """
    return getattr(plugin, name, defaults(contract)[name])


def complete(plugin: P, contract: type) -> P:
    """The plugin with what it leaves out of its contract's optional attributes, at their defaults.

    A plugin need not inherit from its protocol; after this the program need not ask what it has.
    """
    for name, value in defaults(contract).items():
        if not hasattr(plugin, name):
            setattr(plugin, name, value)
    return plugin


def defaults(contract: type) -> dict[str, Any]:
    """The optional attributes of a protocol, by name."""
    return {
        name: vars(base)[name]
        for base in reversed(contract.__mro__)
        for name in vars(base).get("__annotations__", {})
        if name in vars(base) and not name.startswith("_")
    }


def _spelling(factory: Factory) -> str:
    return f"{factory.__module__}:{factory.__qualname__}"


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"


def _load_file(file: str) -> ModuleType:
    """Import a file once, under a name of its own, as pickling and dataclasses need."""
    path = place(file).resolve(strict=True)
    name = f"sparks_plugin_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if name not in sys.modules:
        loader = SourceFileLoader(name, str(path))
        spec = ModuleSpec(name, loader, origin=str(path))
        spec.has_location = True  # so that the file knows where it is
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


solvers = Registry("solvers")
critics = Registry("critics")
editors = Registry("editors")
spaces = Registry("spaces")
metrics = Registry("metrics")
executors = Registry("executors")
