"""Many edits in one folder: what is planned, and what is finished.

plan.json                what is compared, on which tasks: all that is needed to go on
sources/TASK.mp4         what is edited
cells/SETTING/TASK-SEED  one run directory each, with its `row.json` once it is finished and
                         measured, or `error.txt`
claims/, workers/        what is being run, and by whom: see `sparks.claims`
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from sparks.errors import SparksError, printable, shorten
from sparks.experiments.sources import bring, check_same
from sparks.experiments.tasks import Name, Task
from sparks.files import read_json, write_text
from sparks.locks import LOCKS, locked
from sparks.search.budget import Budget
from sparks.settings.yaml import Settings

Counter = Literal["qwen_calls", "renders", "wall_clock"]
#: Columns of a row that are no numbers.
_TEXTS = {
    *("setting", "match", "task", "folder", "prompt", "solver", "space", "stopped_by"),
    *("device", "where"),
}


@dataclass(frozen=True)
class Cell:
    """One edit of an experiment.

    Attributes:
        setting: what is compared, e.g. a solver's name.
        task: the name of the task.
        settings: the user's settings, seed included and video left out.
        match: the counter whose value in the cell `reference` is this one's budget.
        reference: name of that cell; None for one with a budget of its own.
        alone: it has a device, or the cores it runs on, to itself, since its seconds count.
    """

    setting: str
    task: Name
    settings: Settings
    match: Counter | None = None
    reference: str | None = None
    alone: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not be a folder of its own inside the experiment's.

        Raises:
            SparksError: a setting without a letter or number, or a seed that is no whole number.
        """
        if not re.match(r"\w", self._label):
            raise ValueError(
                f"the setting {self.setting!r} has no letter or number to name a folder"
            )
        if type(self.settings.get("seed")) is not int:
            raise SparksError(f"the seed {self.settings.get('seed')!r} is no whole number")

    @property
    def name(self) -> str:
        """Its folder in the experiment."""
        matched = f"={self.match}" if self.match else ""
        return f"cells/{self._label}{matched}/{self.task}-{self.settings['seed']}"

    @property
    def _label(self) -> str:
        return re.sub(r"[^\w.@-]+", "-", self.setting).lstrip(".-") or self.setting

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row that tell it from others."""
        own = {"setting": self.setting, "match": self.match, "task": self.task}
        return {**own, "seed": self.settings["seed"], "folder": self.name}

    @property
    def piece(self) -> str:
        """What is claimed of it."""
        return self.name.removeprefix("cells/")

    @property
    def timed(self) -> bool:
        """Whether its seconds count: it is measured in them, or limited by them."""
        budget = self.settings.get("budget")
        limited = bool(budget) and Budget.parse(str(budget)).wall_clock is not None
        return self.alone or self.match == "wall_clock" or limited

    def row(self, folder: Path) -> Path:
        """The file that says that it is finished, and what it reached."""
        return folder / self.name / "row.json"

    def error(self, folder: Path) -> Path:
        """The file that says why it failed, until it is tried again."""
        return folder / self.name / "error.txt"


@dataclass
class Plan:
    """An experiment: cells over tasks, references before those that are matched to them."""

    title: str
    tasks: list[Task]
    cells: list[Cell] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse cells that cannot all be run.

        Raises:
            SparksError: two cells of one folder, or one whose task or reference is not planned.
        """
        cells: dict[str, Cell] = {}
        for cell in self.cells:
            other = cells.setdefault(cell.name, cell)
            if other is not cell:
                raise SparksError(
                    f"{other.setting!r} and {cell.setting!r} share the folder {cell.name}; "
                    "rename one"
                )
        tasks = {task.name for task in self.tasks}
        for cell in self.cells:
            reference = cells.get(cell.reference or "")
            alone = cell.reference is None or (reference and reference.reference is None)
            if cell.task not in tasks or not alone:
                raise SparksError(f"{cell.name} needs a task or a reference that is not planned")

    def save(self, folder: Path) -> None:
        """Write `plan.json`, adding to what is planned there already, and copy what is edited.

        Raises:
            SparksError: a cell of the same name has other settings there, or a task of the same
                name asks for something else.
        """
        if (folder / "plan.json").is_file():
            earlier = load_plan(folder)
            planned = {cell.name: cell for cell in earlier.cells}
            for cell in self.cells:
                if planned.setdefault(cell.name, cell) != cell:
                    raise SparksError(
                        f"{folder} holds {cell.name} with other settings; give another --output"
                    )
            before = {task.name: task for task in earlier.tasks}
            for task in self.tasks:
                check_same(task, before.pop(task.name, task))
            self.tasks = [bring(folder, task) for task in self.tasks]
            self.tasks += before.values()  # brought when they were planned
            self.cells = list(planned.values())
        else:
            self.tasks = [bring(folder, task) for task in self.tasks]
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Write `plan.json` as it is, in place of what is planned there."""
        content = TypeAdapter(Plan).dump_python(self, mode="json", exclude_defaults=True)
        write_text(folder / "plan.json", json.dumps(content, indent=1) + "\n")


def load_plan(folder: Path) -> Plan:
    """What `Plan.save` wrote.

    Raises:
        SparksError: there is none in `folder`, or it cannot be read.
    """
    try:
        text = (folder / "plan.json").read_text(encoding="utf-8")
        return TypeAdapter(Plan).validate_json(text)
    except OSError:
        raise SparksError(f"no plan.json in {folder}; say what to run, or another folder") from None
    except (ValueError, SparksError) as error:
        raise SparksError(f"{folder / 'plan.json'} cannot be read: {error}") from None


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Inside, no other process that asks gets this folder; False if one has it already.

    Raises:
        SparksError: it holds other things, or cannot be written.
    """
    with ExitStack() as opening:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in folder.iterdir()}.difference(LOCKS, {"sources"})
            if names and "plan.json" not in names:
                raise SparksError(f"output {folder} holds no experiment; choose a new folder")
            ours = opening.enter_context(locked(folder))
        except OSError as error:
            raise SparksError(f"cannot write {folder}: {error.strerror}; choose another") from error
        yield ours


def finished(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """The rows of all finished cells, in the order of the plan.

    Raises:
        SparksError: see `read_row`.
    """
    return [read_row(folder, cell) for cell in plan.cells if cell.row(folder).is_file()]


def read_row(folder: Path, cell: Cell) -> dict[str, Any]:
    """What a finished cell reached, by column.

    Raises:
        SparksError: its row cannot be read, is another cell's, or holds what no column can.
    """
    file = cell.row(folder)
    try:
        row = read_json(file)
        if not isinstance(row, dict) or any(row.get(k) != v for k, v in cell.columns.items()):
            raise ValueError("it is not this edit's")
        if odd := [name for name, value in row.items() if not _is_value(name, value)]:
            raise ValueError(f"{printable(odd[0])}={shorten(repr(row[odd[0]]))} cannot be")
    except (OSError, ValueError) as error:
        raise SparksError(
            f"{file} cannot be read: {error}; remove it to have the edit measured again"
        ) from None
    return row


def _is_value(column: str, value: Any) -> bool:
    if value is None or column in _TEXTS:
        return value is None or isinstance(value, str)
    if type(value) not in (bool, int, float) or not math.isfinite(value):
        return False
    return not column.startswith("p_yes") or 0 <= value <= 1
