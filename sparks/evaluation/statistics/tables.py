"""Rows of measurements to means with intervals, and to text."""

from __future__ import annotations

import csv
import functools
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
    weights = _resampling(tuple(map(len, groups.values())))
    means = weights @ np.concatenate([*groups.values()]).astype(weights.dtype)
    low, high = np.quantile(means, (0.025, 0.975))
    mean = float(np.mean([np.mean(values) for values in groups.values()]))
    return Estimate(mean, float(low), float(high), sum(map(len, groups.values())))


def estimates(clusters: Sequence[str], values: np.ndarray) -> np.ndarray:
    """As `estimate`, of many columns that miss nothing.

    Args:
        clusters: of each row.
        values: `[rows, columns]`.

    Returns:
        `[3, columns]`: means, and the lower and upper ends of their intervals.
    """
    rows: dict[str, list[int]] = {}
    for row, cluster in enumerate(clusters):
        rows.setdefault(cluster, []).append(row)
    weights = _resampling(tuple(map(len, rows.values())))
    ordered = values[[row for each in rows.values() for row in each]]
    ends = np.quantile(weights @ ordered.astype(weights.dtype), (0.025, 0.975), axis=0)
    mean = np.mean([values[each].mean(0) for each in rows.values()], axis=0)
    return np.stack([mean, *ends])


@functools.lru_cache(maxsize=4)
def _resampling(sizes: tuple[int, ...]) -> np.ndarray:
    """What each value weighs in each of RESAMPLES means, for clusters of these sizes.

    All columns of a table are resampled alike, so that this is drawn once for all of them.
    """
    rng = np.random.default_rng(0)
    drawn = [_counts(rng.integers(size, size=(RESAMPLES, size)), size) / size for size in sizes]
    chosen = _counts(rng.integers(len(sizes), size=(RESAMPLES, len(sizes))), len(sizes))
    parts = [part * chosen[:, i : i + 1] / len(sizes) for i, part in enumerate(drawn)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _counts(picks: np.ndarray, of: int) -> np.ndarray:
    """How often each of `of` numbers is in each row of `picks`."""
    places = picks + of * np.arange(len(picks))[:, None]
    return np.bincount(places.ravel(), minlength=of * len(picks)).reshape(len(picks), of)


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
