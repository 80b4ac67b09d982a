"""Episodes of an edit whose task a `reset` may change."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sparks.errors import SparksError, shorten
from sparks.pocket.tasks import find_task
from sparks.runs.cache import Cache
from sparks.runs.prepare import prepare
from sparks.runs.resolve import Resolved, resolve
from sparks.search.budget import Budget, Meter
from sparks.search.problem import EditProblem
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings
from sparks.solvers.episodes import Array, Episodes
from sparks.spaces.base import LOW_DIMENSIONAL

#: Settings that say what is asked of which clip; the others of an environment hold for all tasks.
OF_A_TASK = (
    *("video", "prompt", "static_prompt", "negative_prompt", "audio_prompt"),
    *("prefix_frames", "window"),
)

Task = str | Mapping[str, Any]


class Retakes(Episodes):
    """Episodes around a problem, or around the problems that settings and tasks make.

    Args:
        count: B.
        problem: what is edited; its own budget holds, and its task stays.
        settings: as of `sparks.edit`, if no problem is given; the bundled task in a low-dimensional
            space by default. Without a `budget` among them there is no limit; one holds for all
            tasks together.
        options: `steps`, `bound`, `gradient` and `render_mode` of
            `sparks.solvers.episodes.Episodes`.

    Raises:
        SparksError: both or unusable settings and problem, or an option out of range.
    """

    def __init__(
        self,
        count: int,
        *,
        problem: EditProblem | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        if problem is not None and settings is not None:
            raise SparksError("give the environment a problem or settings, not both")
        self._maker = _Maker(settings or {}) if problem is None else None
        self._task: Task | None = None
        super().__init__(count, problem or self._made(None), **options)

    def begin(self, options: Mapping[str, Any] | None) -> Array:
        """Every episode at its start, of the task that `options` name if any; as `restart`.

        Raises:
            SparksError: no such task, one for an environment around a given problem, or one with
                another number of coordinates.
        """
        task = (options or {}).get("task")
        if task is not None and task != self._task:
            self._turn_to(task)
        self.forget()
        return self.restart()

    def _turn_to(self, task: Task) -> None:
        problem = self._made(task)
        if problem.dim != self.problem.dim:
            raise SparksError(
                f"task {shorten(task)} has {problem.dim} coordinates, the environment "
                f"{self.problem.dim}; give it a space that has as many for every clip, e.g. "
                "settings={'space': {'name': 'random', 'k': 32}}"
            )
        self.problem, self._task = problem, copy.copy(task)  # the caller's may change
        self.metadata["render_fps"] = problem.conditioning.fps

    def _made(self, task: Task | None) -> EditProblem:
        if self._maker is None:
            raise SparksError(
                f"task {shorten(task)}: the environment was given a problem, whose task stays; "
                "give it settings instead"
            )
        return self._maker.make(task)


class _Maker:
    """Problems of one configuration, on one meter; they share what they load."""

    def __init__(self, settings: Settings) -> None:
        self.settings = merge({"space": LOW_DIMENSIONAL}, settings)
        self.cache = Cache()
        self.meter: Meter | None = None

    def make(self, task: Task | None) -> EditProblem:
        """Of a task, or of what the settings say themselves."""
        if task is None:
            return self._prepared(resolve(self.settings))
        others = {key: value for key, value in self.settings.items() if key not in OF_A_TASK}
        if isinstance(task, str):
            return self._prepared(resolve(others, task=find_task(task)))
        return self._prepared(resolve(merge(others, _checked(task))))

    def _prepared(self, resolved: Resolved) -> EditProblem:
        if self.meter is None:
            limited = "budget" in self.settings
            self.meter = Meter(Budget.parse(resolved.config.budget) if limited else Budget())
        # Loading seeds torch; whoever makes an environment keeps the random numbers they had.
        with torch.random.fork_rng(devices=[]), self.meter.paused():
            return prepare(resolved, cache=self.cache, budget=self.meter).problem


def _checked(task: Mapping[str, Any]) -> Settings:
    if not isinstance(task, Mapping):
        raise SparksError(f"task {shorten(task)} is no name of one and no mapping of settings")
    if foreign := [key for key in task if key not in OF_A_TASK]:
        raise SparksError(
            f"task.{shorten(foreign[0])} is unknown; a task says {', '.join(OF_A_TASK)}"
        )
    return {key: str(value) if isinstance(value, Path) else value for key, value in task.items()}
