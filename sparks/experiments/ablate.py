"""`sparks ablate`: the same tasks under several settings that differ along one axis."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from sparks.errors import SparksError
from sparks.experiments.cells import Cell, Counter, Plan
from sparks.experiments.tasks import Task
from sparks.search.budget import COUNTERS
from sparks.settings.layers import merge, without_code
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings, read_settings

_AXES = Path(__file__).with_name("axes.yaml")
_NEVER_SHARED = ("video", "prompt", "static_prompt")  # presets may say how much is kept
_SHARED = ("mode", "audio_init", "audio_init_seed")  # what spaces of every name take


def axes() -> list[str]:
    """Names of the bundled axes."""
    return ["solvers", *read_settings(_AXES)]


def settings_of(
    axis: str, only: Sequence[str] = (), base: Settings | None = None
) -> dict[str, Settings]:
    """The named settings of an axis, in the order of `only` if given.

    Of `solvers` the names are those of solvers, `NAME@SPACE` to search another space than the rest.
    The axis may be a YAML file, which may name code only if `base` does too.

    Raises:
        SparksError: no such axis, or no such setting on it.
    """
    if axis == "solvers":
        return {name: _solver(name) for name in only or ("adam", "ppo", "cma", "random")}
    axes_by_name = read_settings(_AXES)
    if Path(axis).is_file():
        axes_by_name = {axis: _axis(without_code(read_settings(axis), axis, base or {}), axis)}
    if axis not in axes_by_name:
        raise SparksError(f"no axis {axis!r}; choose {', '.join(axes())}, or give a YAML file")
    unknown = [name for name in only if name not in axes_by_name[axis]]
    if unknown:
        raise SparksError(
            f"{axis} has no {unknown[0]!r}; choose from {', '.join(axes_by_name[axis])}"
        )
    return {name: axes_by_name[axis][name] for name in only or axes_by_name[axis]}


def _axis(read: Settings, axis: str) -> dict[str, Settings]:
    """The settings of a file by name, none of them being as good as an empty one.

    Raises:
        SparksError: there are none, or one that is no table.
    """
    settings = {str(name): overlay or {} for name, overlay in read.items()}
    wrong = [name for name, overlay in settings.items() if not isinstance(overlay, dict)]
    if wrong or not settings:
        what = f"setting {wrong[0]!r} is no table" if wrong else "holds no settings"
        raise SparksError(f"axis {axis} {what}; write name: {{key: value}} lines")
    return settings


def _solver(name: str) -> Settings:
    solver, _, space = name.partition("@")
    return {"solver": {"name": solver}} | ({"space": {"name": space}} if space else {})


def plan_ablation(
    title: str,
    base: Settings,
    overlays: dict[str, Settings],
    tasks: Sequence[Task],
    *,
    seeds: int = 1,
    match: Mapping[Counter, int] | None = None,
) -> Plan:
    """Every task and seed under every setting; the first setting is the reference of `match`.

    Args:
        title: of the page.
        base: settings that all share.
        overlays: what each setting changes, by its name.
        tasks: what to edit.
        seeds: how many, counted up from the settings' own.
        match: counters, and for how many of the seeds: the reference runs on the settings' budget,
            each of the others on what the reference spent of the counter on the same task and
            seed. Without, all have one budget.

    Raises:
        SparksError: settings that are wrong by themselves.
    """
    first = Config.resolve(base).seed
    of_tasks = {key: value for key, value in base.items() if key in _NEVER_SHARED}
    for where, overlay in {"the settings": of_tasks, **overlays}.items():
        _check_apart(where, overlay, tasks)
    reference, *others = overlays
    cells: list[Cell] = []
    for task, index in itertools.product(tasks, range(seeds)):
        seeded = base | {"seed": first + index}
        settings = {name: _laid(seeded, overlay) for name, overlay in overlays.items()}
        now = [counter for counter, count in (match or {}).items() if index < count]
        measured = Cell(reference, task.name, settings[reference], alone="wall_clock" in now)
        cells.append(measured)
        for to, name in itertools.product(now if match else (None,), others):
            after = measured.name if to else None
            cells.append(Cell(name, task.name, settings[name], to, after, to == "wall_clock"))
    return Plan(title, list(tasks), cells)


def _check_apart(where: str, overlay: Settings, tasks: Sequence[Task]) -> None:
    """Refuse what would be laid over by the tasks' own, so that nothing is compared with itself.

    Raises:
        SparksError: the setting, and the first key that tasks decide.
    """
    own = {key for task in tasks for key in task.settings(Path("video"))}
    if twice := sorted(own & {key for key, value in overlay.items() if value is not None}):
        raise SparksError(f"{where} sets {twice[0]}, which each task decides; leave it out")


def parse_match(text: str | None, seeds: int) -> dict[Counter, int]:
    """Read `qwen_calls,wall_clock:1`: counters, each for all of the seeds or for the first few.

    Raises:
        SparksError: a counter that no budget has, or a number of seeds that there are not.
    """
    seeds_by_counter: dict[Counter, int] = {}
    for part in text.split(",") if text else ():
        counter, _, count = part.partition(":")
        if counter not in COUNTERS or count not in ("", *map(str, range(1, seeds + 1))):
            raise SparksError(
                f"cannot match {part!r}; write COUNTER or COUNTER:SEEDS with at most {seeds} seeds "
                f"and any of {', '.join(COUNTERS)}"
            )
        seeds_by_counter[cast("Counter", counter)] = int(count or seeds)
    return seeds_by_counter


def _laid(base: Settings, overlay: Settings) -> Settings:
    """`overlay` over `base`; another space keeps what all spaces understand."""
    laid = merge(base, overlay)
    if "space" in overlay:
        shared = {key: base["space"][key] for key in _SHARED if key in base.get("space", {})}
        laid["space"] = shared | laid["space"]
    return laid
