"""Which video each method made of each scenario: out of experiments' folders and of others'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.evaluation.comparison.layout import FORMS, VIDEOS, Given, Layout, Method, PictureArea
from sparks.evaluation.statistics.reading import read_table
from sparks.evaluation.statistics.scores import as_number
from sparks.files import read_json

K = 5  # frames that experiments keep unless a task says otherwise


@dataclass(frozen=True)
class Found:
    """A method's video of a scenario, which part of it is the edit, and P(yes) if known."""

    path: Path
    part: PictureArea = "whole"
    p_yes: float | None = None


def scenarios_of(layout: Layout) -> list[Given]:
    """Those of the layout, or the tasks of its experiments.

    Raises:
        SparksError: an experiment that is none.
    """
    if layout.scenarios is not None:
        return layout.scenarios
    tasks: dict[str, Given] = {}
    for method in layout.methods:
        if method.experiment is not None:
            for task in _tasks(method.experiment):
                tasks.setdefault(task.name, task)
    return list(tasks.values())


def video_of(method: Method, scenario: Given) -> Found | None:
    """What a method made of a scenario; None if it made nothing.

    Raises:
        SparksError: an experiment without such a setting, or several files that fit.
    """
    if method.experiment is not None:
        return _of_experiment(method, method.experiment, scenario.name)
    assert method.folder is not None
    patterns, part = FORMS[method.form]
    for pattern in (method.files,) if method.files else patterns:
        path = _one_file(method.folder, pattern.replace("{scenario}", scenario.name))
        if path is not None:
            return Found(path, method.part or part)
    return None


def _one_file(folder: Path, pattern: str) -> Path | None:
    fits = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in VIDEOS and p.is_file())
    if len(fits) > 1:
        names = ", ".join(path.name for path in fits[:3])
        raise SparksError(f"{folder}: {pattern} fits {len(fits)} files ({names}); say files:")
    return fits[0] if fits else None


def _of_experiment(method: Method, folder: Path, scenario: str) -> Found | None:
    rows = _cells(folder)
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    setting = method.setting or (settings[0] if len(settings) == 1 else None)
    if setting not in settings:
        raise SparksError(f"{folder} has no setting {setting!r}; choose {', '.join(settings)}")
    mine = [
        row
        for row in rows
        if (row["setting"], row["task"]) == (setting, scenario)
        and method.seed in (None, int(row["seed"]))
    ]
    if not mine:
        return None
    row = mine[0]
    path = folder / row["folder"] / f"{method.video}.mp4"
    p_yes = as_number(row.get(f"p_yes_judge_{method.video}"))
    return Found(path, method.part or "whole", p_yes) if path.is_file() else None


def _cells(folder: Path) -> Sequence[dict[str, str]]:
    if not (folder / "cells.csv").is_file():
        raise SparksError(f"no experiment at {folder}; name a folder of sparks bench or ablate")
    return read_table(str(folder / "cells.csv"))


def _tasks(folder: Path) -> list[Given]:
    """From the plan, or where only the page was published, from the table of cells."""
    plan = folder / "plan.json"
    if plan.is_file():
        try:
            rows: list[dict[str, Any]] = read_json(plan)["tasks"]
        except (ValueError, KeyError, TypeError) as error:
            raise SparksError(f"{plan} cannot be read: {error}") from None
    else:
        cells = ({"name": row["task"], "prompt": row["prompt"]} for row in _cells(folder))
        rows = list({row["name"]: row for row in cells}.values())
    return [given for row in rows if (given := _task(folder, row)) is not None]


def _task(folder: Path, row: dict[str, Any]) -> Given | None:
    """None where its source is not there."""
    source = next(iter(sorted((folder / "sources").glob(f"{row['name']}.*"))), None)
    if source is None:
        return None
    prefix = row.get("prefix_frames")
    return Given(
        name=row["name"],
        source=source,
        prompt=row["prompt"],
        static_prompt=row.get("static_prompt"),
        prefix_frames=K if prefix is None else prefix,
    )
