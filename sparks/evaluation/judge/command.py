"""`sparks judge`: the edits of a comparison's folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from sparks.errors import SparksError
from sparks.evaluation.judge.backends import backend as find_backend
from sparks.evaluation.judge.judging import Judging, Orders, as_table, judge, remarks
from sparks.evaluation.judge.request import read_template
from sparks.evaluation.judge.rubric import rubric as find_rubric
from sparks.evaluation.scenarios import read_comparison


def judge_folder(
    folder: Path,
    backend: str,
    model: str | None = None,
    base_url: str | None = None,
    *,
    rubric: str = "edit",
    orders: str = "both",
    repeats: int = 1,
    num_frames: int = 8,
    seed: int = 0,
    instructions: Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Judge, and give everything as plain data and as text; arguments as of `Judging`.

    Raises:
        SparksError: no comparison, or a judge or option that is not there.
    """
    comparison = read_comparison(folder)
    if orders not in ("both", "balanced"):
        raise SparksError(f"--orders is {orders!r}; say both or balanced")
    how = Judging(
        *(find_rubric(rubric), read_template(instructions), cast("Orders", orders)),
        *(repeats, num_frames, seed),
    )
    result = judge(comparison, how, find_backend(backend, model, base_url), folder)
    table = as_table(result, list(comparison.roles), list(how.rubric.axes))
    notes = "".join(f"\n- {line}" for line in remarks(result))
    return asdict(result), f"{table}{notes}\nWritten to {folder / 'judge.csv'}."
