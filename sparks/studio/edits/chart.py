"""P(yes) and the loss over a search, as the points of a drawing that a template makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sparks.search.history import HistoryRow, column

WIDTH, HEIGHT = 960, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 12, 14, 24


@dataclass(frozen=True)
class Dot:
    """An evaluation: where it stands, and what is told of it."""

    x: float
    y: float
    evaluation: int
    title: str
    best: bool


@dataclass(frozen=True)
class Chart:
    """Two lines; the loss has a scale of its own, from its least to its most."""

    dots: list[Dot]
    p_yes: str
    loss: str
    halves: list[tuple[float, str]]
    steps: list[tuple[float, int]]
    width: int = WIDTH
    height: int = HEIGHT


def chart(rows: Sequence[HistoryRow]) -> Chart:
    """The drawing of a history."""
    best = max((row["index"] for row in rows if row["best"]), default=-1)
    answers, totals = column(rows, "p_yes"), column(rows, "total")
    real = [value for value in totals if math.isfinite(value)] or [0.0]
    low, span = min(real), (max(real) - min(real)) or 1.0
    xs = [_x(row["index"], len(rows)) for row in rows]
    loss = [_y((value - low) / span) for value in totals]
    heights = [_y(value) for value in answers]
    dots = [
        Dot(x, y, row["index"] + 1, _title(row), row["index"] == best)
        for x, y, row in zip(xs, heights, rows, strict=True)
        if math.isfinite(y)
    ]
    halves = [(_y(value), f"{value:g}") for value in (0, 0.5, 1)]
    every = max(1, len(rows) // 10)
    steps = [(x, row["index"] + 1) for x, row in zip(xs, rows, strict=True)][::every]
    return Chart(dots, _line(xs, heights), _line(xs, loss), halves, steps)


def _x(index: int, count: int) -> float:
    return round(_LEFT + index / max(1, count - 1) * (WIDTH - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _line(xs: Sequence[float], ys: Sequence[float]) -> str:
    return " ".join(f"{x},{y}" for x, y in zip(xs, ys, strict=True) if math.isfinite(y))


def _title(row: HistoryRow) -> str:
    def shown(value: Any) -> str:
        return "none" if value is None else f"{value:.3f}"

    return (
        f"evaluation {row['index'] + 1}: P(yes) {shown(row['p_yes'])}, loss {shown(row['total'])}"
    )
