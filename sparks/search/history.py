"""Evaluations as rows of `history.jsonl`, and what an earlier process evaluated."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sparks.errors import SparksError
from sparks.files import read_bytes
from sparks.search.evaluation import Evaluation
from sparks.search.objective import Losses

HistoryRow = dict[str, Any]

# What a row's cost holds; and what rounding may add to a number.
_COUNTS = ("qwen_calls", "renders", "denoiser_forwards", "denoiser_backwards")
_SLACK, _LARGEST = 1e-6, 1e308
_KEYS = {"index", "seed", "z_sha256", "losses", "total", "p_yes", "best", "cost"}


def to_row(evaluation: Evaluation, best: bool) -> HistoryRow:
    """One evaluation as JSON; a number that is none becomes null."""
    return {
        "index": evaluation.index,
        "seed": evaluation.seed,
        "z_sha256": evaluation.z_sha256,
        "losses": {name: _finite(value) for name, value in evaluation.losses.terms.items()},
        "total": _finite(evaluation.total),
        "p_yes": _finite(evaluation.p_yes),
        "best": best,
        "cost": dict(evaluation.cost),
    }


def to_evaluation(row: HistoryRow, z: Tensor, gradient: Tensor | None = None) -> Evaluation:
    """The evaluation of `z [k]` that `row` records, without its frames."""
    return Evaluation(
        index=row["index"],
        z=z,
        losses=Losses({name: _number(value) for name, value in row["losses"].items()}),
        p_yes=_number(row["p_yes"]),
        seed=row["seed"],
        gradient=gradient,
        cost=row["cost"],
    )


def batch_of(rows: Sequence[HistoryRow], row: HistoryRow) -> int:
    """Index of the first row of the batch that `row` was evaluated in: their counts are one."""
    counts = (each["cost"]["renders"] for each in rows)
    return next(index for index, count in enumerate(counts) if count == row["cost"]["renders"])


class Past:
    """Evaluations of an earlier process, recalled in order instead of rendered.

    Args:
        rows: of the history, from the first.
        gradients: `[k]` each by row, where they were saved.
    """

    def __init__(
        self, rows: Sequence[HistoryRow], gradients: Mapping[int, Tensor] | None = None
    ) -> None:
        self.rows, self.gradients = rows, dict(gradients or {})

    def recall(self, index: int, z: Tensor, seeds: Sequence[int]) -> list[Evaluation]:
        """What is known of candidates `z [B, k]` at positions `index` and on: B or fewer.

        Raises:
            SparksError: a row holds another candidate, or other noise.
        """
        rows = self.rows[index : index + len(z)]
        pairs = zip(rows, z, strict=False)
        recalled = [to_evaluation(row, one, self.gradients.get(row["index"])) for row, one in pairs]
        for row, evaluation, seed in zip(rows, recalled, seeds, strict=False):
            if row["z_sha256"] != evaluation.z_sha256 or row["seed"] != seed:
                raise SparksError(
                    f"row {row['index'] + 1} of history.jsonl (index {row['index']}) holds another "
                    "candidate than the solver proposes now: settings, code or libraries are not "
                    "those of the run; start a new one"
                )
        return recalled


def read_rows(path: Path) -> tuple[list[HistoryRow], int]:
    """Whole rows of a history and the bytes they take; what follows them is torn.

    Raises:
        SparksError: a row before the last cannot be read.
    """
    lines = read_bytes(path).splitlines(keepends=True)
    rows: list[HistoryRow] = []
    for number, line in enumerate(lines):
        row = _parse(line)
        if row is None or row.get("index") != number:
            if number + 1 < len(lines):
                raise SparksError(f"row {number + 1} of {path} cannot be read; start a new run")
            break
        rows.append(row)
    return rows, sum(map(len, lines[: len(rows)]))


def column(rows: Sequence[HistoryRow], name: str) -> list[float]:
    """One number of every row, to draw; NaN where it was none."""
    return [_number(row[name]) for row in rows]


def _parse(line: bytes) -> HistoryRow | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and row.keys() >= _KEYS and line.endswith(b"\n")
    return row if whole and _is_typed(row) else None


def _is_typed(row: HistoryRow) -> bool:
    losses, cost = row["losses"], row["cost"]
    return (
        type(row["index"]) is type(row["seed"]) is int
        and isinstance(row["z_sha256"], str)
        and isinstance(row["best"], bool)
        and isinstance(losses, dict)
        and all(value is None or _is_number(value) for value in losses.values())
        and _is_total(row["total"], losses.values())
        and (row["p_yes"] is None or _is_share(row["p_yes"]))
        and isinstance(cost, dict)
        and all(_is_number(value) and value >= 0 for value in cost.values())
        and all(type(cost.get(name, 0)) is int for name in _COUNTS)
    )


def _is_number(value: Any) -> bool:
    """Whether it is a finite one, as rows have them."""
    return type(value) in (int, float) and abs(value) < _LARGEST


def _is_share(value: Any) -> bool:
    return _is_number(value) and -_SLACK <= value <= 1 + _SLACK


def _is_total(total: Any, losses: Collection[Any]) -> bool:
    """Whether it is the sum of the terms, or none where one of them is none."""
    if None in losses:
        return total is None
    return _is_number(total) and math.isclose(total, sum(losses), rel_tol=_SLACK, abs_tol=_SLACK)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
