"""Any figure of several methods on the same scenarios, as `cells.csv` of an experiment has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparks.errors import SparksError
from sparks.evaluation.statistics.counts import Array

_SCENARIO, _METHOD = ("scenario", "task"), ("method", "setting")
_NO_FIGURES = {"seed", "match", "folder", "prompt"}


@dataclass(frozen=True)
class Scores:
    """`values [S, M]`: a column's mean for each scenario and method; a row without gaps each."""

    column: str
    scenarios: tuple[str, ...]
    methods: tuple[str, ...]
    values: Array

    @property
    def ranks(self) -> Array:
        """Mean rank of each method, 1 for the greatest; equals share their ranks."""
        from scipy.stats import rankdata

        return np.asarray(rankdata(-self.values, axis=1).mean(0))


def is_scores(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the rows name scenarios (or tasks) and methods (or settings)."""
    return all(_key(rows, names) is not None for names in (_SCENARIO, _METHOD))


def numeric(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of numbers, true and false among them."""
    skipped = {*_SCENARIO, *_METHOD, *_NO_FIGURES}
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if name not in skipped and _numbers(rows, name)]


def read_scores(rows: Sequence[Mapping[str, Any]], column: str, where: str) -> Scores:
    """The means of a column; scenarios that a method lacks are left out.

    Raises:
        SparksError: no such column of numbers, or no scenario that every method has.
    """
    if column not in numeric(rows):
        raise SparksError(f"{where} has no numbers {column!r}; it has {', '.join(numeric(rows))}")
    scenario, method = str(_key(rows, _SCENARIO)), str(_key(rows, _METHOD))
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if (value := as_number(row.get(column))) is not None:
            cells.setdefault((str(row[scenario]), str(row[method])), []).append(value)
    methods = tuple(dict.fromkeys(name for _, name in cells))
    every = dict.fromkeys(name for name, _ in cells)
    scenarios = tuple(s for s in every if all((s, m) in cells for m in methods))
    if not scenarios:
        raise SparksError(f"{where}: no scenario has {column} of every method")
    means = [[float(np.mean(cells[s, m])) for m in methods] for s in scenarios]
    return Scores(column, scenarios, methods, np.array(means))


def as_number(text: Any) -> float | None:
    """A cell's number; None for an empty one or words."""
    words = {"true": 1.0, "false": 0.0}
    try:
        value = words.get(str(text).strip().lower())
        value = float(text) if value is None else value
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    filled = [row[name] for row in rows if row.get(name) not in ("", None)]
    return bool(filled) and all(as_number(cell) is not None for cell in filled)


def _key(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    return next((name for name in names if rows and name in rows[0]), None)
