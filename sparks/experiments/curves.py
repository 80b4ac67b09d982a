"""Best so far against what it cost, of many searches at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparks.evaluation.statistics.tables import Row, estimates
from sparks.files import replacing
from sparks.search.history import read_rows

_COUNTERS = {"qwen_calls": "critic calls", "wall_clock": "seconds"}
_VALUES = {"total": "total loss of the best so far", "p_yes": "its P(yes)"}
_POINTS = 60


def draw_curves(path: Path, folder: Path, groups: Mapping[str, Sequence[Row]]) -> None:
    """Write a PNG of loss and P(yes) against calls and seconds.

    A line is the mean over the runs of one setting, from where each has scored its start; the band
    is its 95 % bootstrap interval.

    Args:
        path: the picture.
        folder: where the runs are that the rows name.
        groups: rows of each setting, with `task` and `folder`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), dpi=120, layout="constrained")
    axes = figure.subplots(len(_VALUES), len(_COUNTERS), sharex="col", sharey="row")
    for setting, rows in groups.items():
        runs = [(row["task"], _best(folder / row["folder"])) for row in rows]
        for column, counter in enumerate(_COUNTERS):
            grid = _thinned([value for _, run in runs for value in run[counter]])
            for axis, value in zip(axes[:, column], _VALUES, strict=True):
                _draw(axis, setting, grid, [(t, _at(grid, r[counter], r[value])) for t, r in runs])
    for axis, label in zip(axes[:, 0], _VALUES.values(), strict=True):
        axis.set(ylabel=label)
    for axis, label in zip(axes[-1], _COUNTERS.values(), strict=True):
        axis.set(xlabel=label)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _best(run: Path) -> dict[str, list[float]]:
    """What a run had spent and had found after each of its evaluations."""
    rows, _ = read_rows(run / "history.jsonl")
    curve: dict[str, list[float]] = {name: [] for name in (*_COUNTERS, *_VALUES)}
    best: dict[str, Any] = {}
    for row in rows:
        best = row if row["best"] or not best else best
        for name in _COUNTERS:
            curve[name].append(row["cost"].get(name, math.nan))
        for name in _VALUES:
            curve[name].append(best[name])
    return curve


def _thinned(values: list[float]) -> np.ndarray:
    """At most _POINTS of the distinct values, both ends among them."""
    distinct = np.unique(values)
    count = min(len(distinct), _POINTS)
    return distinct[np.linspace(0, len(distinct) - 1, count).round().astype(int)]


def _at(grid: np.ndarray, spent: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """`found` as it stood when `grid` was spent; NaN before anything was."""
    last = np.searchsorted(spent, grid, side="right") - 1
    return np.where(last >= 0, np.asarray(values)[last], np.nan)


def _draw(axis: Any, label: str, grid: np.ndarray, lines: list[tuple[str, np.ndarray]]) -> None:
    values = np.stack([line for _, line in lines])
    begun = ~np.isnan(values).any(0)
    mean, low, high = estimates([task for task, _ in lines], values[:, begun])
    (drawn,) = axis.plot(grid[begun], mean, label=label, drawstyle="steps-post")
    axis.fill_between(
        grid[begun], low, high, color=drawn.get_color(), step="post", alpha=0.15, linewidth=0
    )
