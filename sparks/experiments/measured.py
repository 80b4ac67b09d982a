"""Metrics of finished edits as further columns: measured once, kept beside each edit.

cells/SETTING/TASK-SEED/metrics.json    of the prompt-only render and of the edit, as
                                        `sparks measure` writes it
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparks.evaluation.metrics.command import WRITTEN
from sparks.evaluation.metrics.measuring import Measured, choose, figures, measure
from sparks.evaluation.metrics.pairs import read_run
from sparks.evaluation.statistics.tables import Row
from sparks.experiments.cells import Cell, Plan, Spread, source
from sparks.experiments.tasks import Task
from sparks.files import write_text
from sparks.runs.watch import read_json

Column = tuple[str, str]  # what it is called in tables, and how a value is written


def measure_cells(
    folder: Path,
    plan: Plan,
    group: str | None,
    spread: Spread = map,
) -> None:
    """Measure what is finished and has not been measured by all of the metrics `asked` for.

    Args:
        folder: of the experiment.
        plan: its plan.
        group: groups or names of metrics, separated by commas; None for none.
        spread: an executor.

    Raises:
        SparksError: no such metric, or one that was named cannot be had.
    """
    if group is None:
        return
    cells = [cell for cell in plan.cells if cell.row(folder).is_file()]
    work = functools.partial(_measure_cell, folder, plan.tasks, group)
    for number, cell in enumerate(spread(work, cells), 1):
        print(f"measured {number}/{len(cells)}  {cell.name}", file=sys.stderr, flush=True)


def _measure_cell(folder: Path, tasks: Sequence[Task], group: str, cell: Cell) -> Cell:
    home = folder / cell.name
    before = _read(home)
    choice = choose(group).left(before.get("edited", Measured()))
    if not choice.metrics:
        return cell
    task = next(task for task in tasks if task.name == cell.task)
    pairs = read_run(home, source(folder, task))
    now = {n: before.get(n, Measured()).joined(measure(p, choice)) for n, p in pairs.items()}
    content = {name: one.as_json() for name, one in now.items()}
    write_text(home / WRITTEN, json.dumps(content, indent=1) + "\n")
    return cell


def _read(home: Path) -> dict[str, Measured]:
    written = read_json(home / WRITTEN)
    return {name: Measured(**written[name]) for name in ("baseline", "edited") if name in written}


def with_figures(folder: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows with the figures of their edits, where those have been measured."""
    extended = []
    for row in rows:
        measured = _read(folder / row["folder"]).get("edited", Measured())
        extended.append({**row, **measured.figures})
    return extended


def missing(folder: Path, rows: Sequence[Row]) -> list[str]:
    """One line for each metric that could not be had, and why."""
    lines: dict[str, str] = {}
    for row in rows:
        lines |= _read(folder / row["folder"]).get("edited", Measured()).missing
    return [f"Not measured: {name}: {why}." for name, why in lines.items()]


def figure_columns(rows: Sequence[Row]) -> dict[str, Column]:
    """The columns that metrics fill, in the order of the metrics' names."""
    filled = {name for row in rows for name in row}
    figures_by_name = figures()
    return {n: (figure.title, figure.form) for n, figure in figures_by_name.items() if n in filled}
