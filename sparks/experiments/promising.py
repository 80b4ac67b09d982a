"""Edits by their chance to happen, the likeliest first: `sparks bench --promising`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sparks.experiments.cells import Cell, Plan
from sparks.experiments.sources import ready
from sparks.files import write_text
from sparks.runs.cache import Cache
from sparks.runs.progress import Silent
from sparks.runs.watch import read_json
from sparks.settings.layers import merge

CHANCES = "chances.json"  # of each cell that was looked at, by its name


def order(folder: Path, plan: Plan, todo: Sequence[Cell]) -> None:
    """Look at what is still to do, and plan it by its chance; what was looked at is not again.

    Args:
        folder: of the experiment, which holds the plan.
        plan: whose cells are put in another order, references before what is matched to them.
        todo: the cells that are not finished.
    """
    tasks, cache = {task.name: task for task in plan.tasks}, Cache()
    before = read_json(folder / CHANCES).items()
    chances = {name: chance for name, chance in before if isinstance(chance, float)}
    for count, cell in enumerate(todo, 1):
        if cell.name not in chances:
            video = ready(folder, tasks[cell.task])
            settings = merge(cell.settings, tasks[cell.task].settings(video))
            chances[cell.name] = _chance(settings, cache)
            write_text(folder / CHANCES, json.dumps(chances, indent=1) + "\n")
            told = f"{count}/{len(todo)}  {cell.name}  a chance of {chances[cell.name]:.2f}"
            print(told, file=sys.stderr, flush=True)
    plan.cells.sort(key=lambda cell: (cell.reference is not None, -chances.get(cell.name, 1.0)))
    plan.write(folder)


def _chance(settings: dict[str, object], cache: Cache) -> float:
    from sparks.runs.prepare import prepare
    from sparks.runs.screening.screen import look

    return look(prepare(settings, cache=cache), Silent())[0].probability
