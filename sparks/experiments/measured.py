"""Metrics of finished edits as further columns: measured once, kept beside each edit.

cells/SETTING/TASK-SEED/metrics.json    of the prompt-only render and of the edit, as
                                        `sparks measure` writes it
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparks.evaluation.metrics.command import WRITTEN
from sparks.evaluation.metrics.measuring import Choice, Measured, choose, figures, measure
from sparks.evaluation.metrics.pairs import read_run
from sparks.evaluation.statistics.tables import Row
from sparks.experiments.cells import Plan
from sparks.experiments.sources import source
from sparks.experiments.tasks import Task
from sparks.files import write_text
from sparks.runs.watch import read_json
from sparks.search.executors import Executor, Pieces

Column = tuple[str, str]  # what it is called in tables, and how a value is written


def measure_cells(folder: Path, plan: Plan, group: str | None, executor: Executor) -> None:
    """Measure what is finished and has not been measured by all of the metrics `group` names.

    Args:
        folder: of the experiment.
        plan: its plan.
        group: groups or names of metrics, separated by commas; None for none.
        executor: where it is done.

    Raises:
        SparksError: no such metric, or one that was named cannot be had.
    """
    if group is None:
        return
    folder = folder.absolute()
    tasks = {task.name: task for task in plan.tasks}
    edits = {cell.name: tasks[cell.task] for cell in plan.cells if cell.row(folder).is_file()}
    todo = {edit: folder / edit / WRITTEN for edit in edits if _left(folder / edit, group).metrics}
    if todo:
        print(f"measuring {len(todo)} of {len(edits)} edits", file=sys.stderr, flush=True)
        do = functools.partial(_measure_cell, folder, edits, group)
        executor.run(Pieces.writing(folder, todo, do))


def _left(home: Path, group: str) -> Choice:
    return choose(group).left(_read(home).get("edited", Measured()))


def _measure_cell(folder: Path, edits: Mapping[str, Task], group: str, edit: str) -> None:
    home = folder / edit
    before, choice = _read(home), _left(home, group)
    pairs = read_run(home, source(folder, edits[edit]))
    now = {n: before.get(n, Measured()).joined(measure(p, choice)) for n, p in pairs.items()}
    content = {name: one.as_json() for name, one in now.items()}
    write_text(home / WRITTEN, json.dumps(content, indent=1) + "\n")


def _read(home: Path) -> dict[str, Measured]:
    written = read_json(home / WRITTEN)
    return {n: Measured.of(written[n]) for n in ("baseline", "edited") if n in written}


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
