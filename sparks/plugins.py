"""What is installed: every plugin of every kind, and whether it can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparks.registry import Registry, critics, editors, executors, metrics, solvers, spaces

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Plugin:
    """One name of one kind.

    Attributes:
        kind: `solver`, `critic`, `editor`, `space`, `metric` or `executor`.
        name: as settings and the command line have it.
        origin: `module:Name`; several if the name is claimed more than once.
        version: distribution and version that bring it.
        problem: why it cannot be used, None if it can.
    """

    kind: str
    name: str
    origin: str
    version: str
    problem: str | None


def plugins() -> list[Plugin]:
    """All of them, kind by kind, by name; imports each to see whether it can be."""
    return [
        plugin
        for table in (solvers, critics, editors, spaces, metrics, executors)
        for plugin in _plugins_of(table)
    ]


def as_table(rows: Sequence[Plugin]) -> Table:
    """A row for each."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("kind", "name", "origin", "version", "problem", box=None, pad_edge=False)
    for plugin in rows:
        cells = (plugin.kind, plugin.name, plugin.origin, plugin.version, plugin.problem or "")
        table.add_row(*map(escape, cells))
    return table


def _plugins_of(table: Registry) -> list[Plugin]:
    broken = table.broken()
    rows = []
    for name in table.names():
        providers = table.providers(name)
        where, who = (" and ".join(dict.fromkeys(each)) for each in (providers, providers.values()))
        rows.append(Plugin(table.kind.removesuffix("s"), name, where, who, broken.get(name)))
    return rows
