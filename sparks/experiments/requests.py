"""What `sparks bench` and `sparks ablate` are asked for, as plans; and what a plan would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.experiments.ablate import axes, parse_match, plan_ablation, settings_of
from sparks.experiments.bench import check_plan, plan_bench
from sparks.experiments.cells import Plan, finished, load_plan
from sparks.experiments.tasks import Task, first_seed, task_list
from sparks.settings.yaml import Settings

DEFAULT_TASKS = "pocket12"


@dataclass(frozen=True)
class Request:
    """What both commands take.

    Attributes:
        base: the user's settings.
        tasks: name of a list, or a file.
        seeds: how many noise seeds of each task.
        seed: the first of them; by default the settings', else the list's own.
        output: the experiment's folder, None for a new one.
    """

    base: Settings
    tasks: str | None = None
    seeds: int | None = None
    seed: int | None = None
    output: Path | None = None

    @property
    def empty(self) -> bool:
        """Whether it says nothing of what to run: the folder's own plan is gone on with."""
        said = (self.base, self.tasks, self.seeds, self.seed is not None)
        return self.output is not None and not any(said)

    @property
    def count(self) -> int:
        """Seeds of each task."""
        return self.seeds or 1

    def listed(self) -> list[Task]:
        """The tasks."""
        return task_list(self.tasks or DEFAULT_TASKS)

    def seeded(self) -> Settings:
        """The settings with the first noise seed."""
        listed = self.base.get("seed", first_seed(self.tasks or DEFAULT_TASKS))
        first = listed if self.seed is None else self.seed
        return self.base if first is None else self.base | {"seed": first}


def bench_plan(request: Request) -> Plan | None:
    """What to run, None to go on with what the folder has planned.

    Raises:
        SparksError: see `plan_bench`.
    """
    output = request.output
    if request.empty and output is not None and (output / "plan.json").is_file():
        return None
    return plan_bench(request.seeded(), request.listed(), seeds=request.count)


def ablate_plan(
    request: Request, axis: str | None, only: Sequence[str] = (), match: str | None = None
) -> Plan | None:
    """What to run, None to go on with what the folder has planned.

    Args:
        request: tasks, seeds and settings.
        axis: its name, or a YAML file.
        only: settings of the axis, all by default.
        match: see `parse_match`.

    Raises:
        SparksError: see `settings_of`, `parse_match` and `plan_ablation`.
    """
    if axis is None:
        if not request.empty or only or match:
            raise SparksError(f"say what to compare: {', '.join(axes())}, or a YAML file")
        return None
    base = request.seeded()
    return plan_ablation(
        f"sparks ablate {axis}",
        base,
        settings_of(axis, only, base),
        request.listed(),
        seeds=request.count,
        match=parse_match(match, request.count),
    )


def rehearse(plan: Plan | None, output: Path | None) -> dict[str, Any]:
    """What an experiment would run: checked, and nothing loaded or written.

    Raises:
        SparksError: it could not be run.
    """
    if plan is None:
        assert output is not None  # there is none else to go on with
        plan = load_plan(output)
    else:
        check_plan(plan)
    done = [] if output is None or not output.is_dir() else finished(output, plan)
    return {
        "title": plan.title,
        "output": None if output is None else str(output),
        "tasks": [task.name for task in plan.tasks],
        "settings": list(dict.fromkeys(cell.setting for cell in plan.cells)),
        "seeds": sorted({cell.settings["seed"] for cell in plan.cells}),
        "cells": len(plan.cells),
        "finished": len(done),
    }


def describe(rehearsed: dict[str, Any]) -> str:
    """A rehearsal for people to read."""
    tasks, settings = rehearsed["tasks"], rehearsed["settings"]
    return (
        f"{rehearsed['title']}: {rehearsed['cells']} edits, {rehearsed['finished']} finished\n"
        f"settings  {', '.join(settings)}\n"
        f"tasks     {len(tasks)}: {', '.join(tasks)}\n"
        f"seeds     {', '.join(map(str, rehearsed['seeds']))}\n"
        f"output    {rehearsed['output'] or 'a new folder in runs'}"
    )
