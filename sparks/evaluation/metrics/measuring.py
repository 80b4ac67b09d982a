"""Metrics by name or by group, all that were asked for of one edit, and what could not be."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparks.errors import SparksError
from sparks.registry import metrics
from sparks.search.metrics import Edited, Figure, Metric, Unavailable

ALL = "all"


@dataclass(frozen=True)
class Measured:
    """What was found of one edit.

    Attributes:
        figures: every number by its column; None where it has no meaning.
        missing: why a metric gave none, by its name.
        using: what was used where there was a choice, by what it was for.
        curves: values for each frame.
    """

    figures: dict[str, float | None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    using: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, content: object) -> Measured:
        """What `as_json` gave, as a file has it; nothing, if that is something else."""
        try:
            found = _ADAPTER.validate_json(json.dumps(content), strict=True)
        except ValidationError:
            return cls()
        numbers = [*found.figures.values(), *chain.from_iterable(found.curves.values())]
        return found if all(n is None or math.isfinite(n) for n in numbers) else cls()

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def joined(self, later: Measured) -> Measured:
        """This with what was measured later; what was missing and is missing no more is not."""
        parts = {n: getattr(self, n) | getattr(later, n) for n in ("figures", "using", "curves")}
        missing = self.missing | later.missing
        return Measured(
            missing={n: why for n, why in missing.items() if n in later.missing}, **parts
        )


_ADAPTER = TypeAdapter(Measured)


@dataclass(frozen=True)
class Choice:
    """Metrics to measure by; those in `named` must not be missing."""

    metrics: dict[str, Metric]
    named: frozenset[str]

    def left(self, done: Measured) -> Choice:
        """Those that have not given all their figures yet."""
        left = {n: m for n, m in self.metrics.items() if m.figures.keys() - done.figures.keys()}
        return Choice(left, self.named)

    @property
    def figures(self) -> dict[str, Figure]:
        """All columns that they fill."""
        return {name: f for metric in self.metrics.values() for name, f in metric.figures.items()}


def choose(asked: str | Sequence[str]) -> Choice:
    """Metrics by group, by name, or ALL, separated by commas.

    Raises:
        SparksError: neither a group nor a metric of that name, or two give the same figure.
    """
    words = [w.strip() for w in asked.split(",")] if isinstance(asked, str) else list(asked)
    installed = _installed()
    chosen: dict[str, Metric] = {}
    named = set()
    for word in filter(None, words):
        group = {n: m for n, m in installed.items() if word in (ALL, m.group)}
        if not group:
            group = {word: installed.get(word) or _by_place(word, installed)}
            named.add(word)
        chosen |= group
    _check_columns(chosen)
    return Choice(chosen, frozenset(named))


def measure(edited: Edited, choice: Choice) -> Measured:
    """Everything chosen that can be measured here.

    Raises:
        Unavailable: a metric that was named lacks its package or weights; one that was chosen
            with its group is listed as missing instead.
    """
    found = Measured()
    for name, metric in choice.metrics.items():
        try:
            part = metric.measure(edited)
        except Unavailable as error:
            if name in choice.named:
                raise
            found.missing[name] = str(error)
            continue
        found.figures.update(part.figures)
        found.using.update(part.using)
        found.curves.update({k: [float(v) for v in values] for k, values in part.curves.items()})
    return found


def figures() -> dict[str, Figure]:
    """Every figure of the installed metrics, by its column."""
    return Choice(_installed(), frozenset()).figures


def _installed() -> dict[str, Metric]:
    broken = metrics.broken()
    return {name: metrics.get(name)() for name in metrics.names() if name not in broken}


def _by_place(word: str, installed: dict[str, Metric]) -> Metric:
    if ":" not in word and word not in metrics.names():
        groups = ", ".join(dict.fromkeys(metric.group for metric in installed.values()))
        raise SparksError(
            f"no metric or group {word!r}; groups: {ALL}, {groups}; metrics: "
            f"{', '.join(installed)}; or give module:Name or path/file.py:Name"
        )
    made: Metric = metrics.get(word)()
    return made


def _check_columns(chosen: dict[str, Metric]) -> None:
    owner: dict[str, str] = {}
    for name, metric in chosen.items():
        for column in metric.figures:
            if owner.setdefault(column, name) != name:
                raise SparksError(f"metrics {owner[column]} and {name} both give {column!r}")


def table(found: Iterable[tuple[str, Measured]]) -> tuple[list[str], list[list[str]]]:
    """Figures downwards, edits across: a header, and rows of text."""
    edits = dict(found)
    known = figures()
    names = dict.fromkeys(name for one in edits.values() for name in one.figures)
    rows = []
    for name in names:
        figure = known.get(name, Figure(name))
        cells = [written(one.figures.get(name), figure) for one in edits.values()]
        rows.append([figure.title, *cells, f"{figure.better} is better" if figure.better else ""])
    return ["", *edits, ""], rows


def written(value: float | None, figure: Figure) -> str:
    """A value as tables have it; nothing for one that has no meaning."""
    return "" if value is None else f"{value:{figure.form}}"
