"""Rows of measurements to means with intervals, and to text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval, of `count` values."""

    mean: float
    low: float
    high: float
    count: int


def estimate(rows: Sequence[Row], column: str, cluster: str = "task") -> Estimate | None:
    """The mean of a column over clusters, or None where it holds nothing.

    Clusters (tasks) are resampled, and within each the values (seeds), so that the interval covers
    both; the same rows always give the same interval. Missing values (None) are left out.
    """
    groups: dict[Any, list[float]] = {}
    for row in rows:
        if row.get(column) is not None:
            groups.setdefault(row[cluster], []).append(float(row[column]))
    if not groups:
        return None
    rng = np.random.default_rng(0)
    drawn = []  # one column of RESAMPLES means for each cluster
    for values in groups.values():
        picks = rng.integers(len(values), size=(RESAMPLES, len(values)))
        drawn.append(np.asarray(values)[picks].mean(1))
    chosen = rng.integers(len(drawn), size=(RESAMPLES, len(drawn)))
    means = np.take_along_axis(np.stack(drawn, 1), chosen, 1).mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    mean = float(np.mean([np.mean(values) for values in groups.values()]))
    return Estimate(mean, float(low), float(high), sum(map(len, groups.values())))


def difference(rows: Sequence[Row], others: Sequence[Row], column: str) -> Estimate | None:
    """How much more `rows` have of a column than `others`, task by task and seed by seed.

    Only pairs count of which both have a value; None where there is none. An interval that holds 0
    shows no difference.
    """
    their_values = {(row["task"], row["seed"]): row.get(column) for row in others}
    pairs = []
    for row in rows:
        mine, theirs = row.get(column), their_values.get((row["task"], row["seed"]))
        if mine is not None and theirs is not None:
            pairs.append({"task": row["task"], "more": float(mine) - float(theirs)})
    return estimate(pairs, "more")


def wilson(count: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a plain rate: `count` of so many, each for itself."""
    if not of:
        return 0.0, 1.0
    z2 = 1.959964**2
    rate = count / of
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = np.sqrt(z2 * (rate * (1 - rate) / of + z2 / (4 * of**2))) / (1 + z2 / of)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |\n" for line in lines)


def csv_text(rows: Sequence[Row]) -> str:
    """A header of all keys, then the rows; what is missing stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _inert(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value
