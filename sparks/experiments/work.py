"""The cells of an experiment as work: which one a worker takes next, and when none is left.

A worker stays with the models it has loaded, and within those with the clip it has encoded. Timed
cells come first. A matched cell is free when its own reference has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks.claims import Claims, check_inside
from sparks.errors import SparksError
from sparks.experiments.cells import Cell, Plan, load_plan
from sparks.experiments.devices import Place, place
from sparks.experiments.running import run_cell
from sparks.runs.folder import discard
from sparks.runs.watch import read_json
from sparks.search.executors import Taker, Work, stamp_of
from sparks.settings.layers import without_code
from sparks.settings.yaml import Settings

# Settings that decide which networks are loaded.
_MODELS = ("model", "dtype", "device", "editor", "critic", "judge")

Models = tuple[bool, str]  # whether their cells are timed; the settings
Encoded = tuple[str, int]  # task and seed


@dataclass(frozen=True)
class CellWork(Work):
    """Every cell of `plan.json` in the folder.

    Attributes:
        named: settings that name the code which cells may run; anyone can add to a plan.
    """

    named: Settings = field(default_factory=dict)

    def taker(self, claims: Claims) -> Taker:
        """See `Work.taker`."""
        return _Cells(self.folder, claims, self.named)

    @property
    def left(self) -> int:
        """See `Work.left`."""
        return sum(not ended(self.folder, cell) for cell in load_plan(self.folder).cells)


def ended(folder: Path, cell: Cell) -> bool:
    """Whether a cell is finished or has failed."""
    return cell.row(folder).is_file() or cell.error(folder).is_file()


def failed(folder: Path, plan: Plan) -> list[Cell]:
    """The cells that have failed."""
    return [cell for cell in plan.cells if cell.error(folder).is_file()]


def last_line(folder: Path, cell: Cell) -> str:
    """Why a cell failed, in one line."""
    try:
        lines = cell.error(folder).read_text(encoding="utf-8").strip().splitlines()
    except OSError:  # it is being tried again
        lines = []
    return lines[-1] if lines else "it has not been run"


def refuse_failures(folder: Path, plan: Plan, count: int) -> None:
    """End a command with the first of the cells that are not finished, of `count` to do.

    Raises:
        SparksError: there are any.
    """
    open_cells = [cell for cell in plan.cells if not cell.row(folder).is_file()]
    if open_cells:
        first = open_cells[0]
        raise SparksError(
            f"{len(open_cells)} of {count} cells failed, {first.name} with "
            f"{last_line(folder, first)!r}; see error.txt there, and run again to retry"
        )


def retry(folder: Path, plan: Plan) -> None:
    """Let cells that have failed be begun anew."""
    for cell in failed(folder, plan):
        discard(folder / cell.name)
        cell.error(folder).unlink(missing_ok=True)


class _Cells:
    """Goes through the cells of a folder for one worker; what has ended is not looked at again."""

    def __init__(self, folder: Path, claims: Claims, named: Settings | None = None) -> None:
        self._folder, self._claims, self._named = folder, claims, named or {}
        self._stamp: Any = None
        self._plan = Plan("", [])
        self._groups: dict[Models, dict[Encoded, dict[str, Cell]]] = {}
        self._ended: set[str] = set()
        self._last: tuple[Models, Encoded] | None = None
        self._elsewhere: dict[str, str] = {}  # cells that need another device, by its name

    @property
    def left(self) -> int:
        return sum(len(cells) for group in self._groups.values() for cells in group.values())

    def take(self) -> str | None:
        self._read()
        self._elsewhere = {}
        for key, cell in self._order():
            if self._has_ended(cell):
                self._drop(key, cell)
            elif self._may_begin(cell) and self._do(cell):
                self._last = key
                self._drop(key, cell)
                return cell.name
        if self._elsewhere and len(self._elsewhere) == self.left:
            name, device = next(iter(self._elsewhere.items()))
            raise SparksError(
                f"{name} needs {device}; start a worker there for the {self.left} cells that are "
                "left"
            )
        return None

    def _read(self) -> None:
        """The plan, anew if it has been added to."""
        if (stamp := stamp_of(self._folder / "plan.json")) == self._stamp is not None:
            return
        self._stamp, self._plan = stamp, load_plan(self._folder)
        self._tasks = {task.name: task for task in self._plan.tasks}
        self._groups = {}
        for cell in sorted(self._plan.cells, key=lambda cell: not cell.timed):
            if cell.name not in self._ended:
                models, encoded = _warm(cell)
                group = self._groups.setdefault(models, {})
                group.setdefault(encoded, {})[cell.name] = cell

    def _order(self) -> Iterator[tuple[tuple[Models, Encoded], Cell]]:
        """Open cells, those first that need what this process holds already."""
        groups = [(m, e) for m, group in self._groups.items() for e in group]
        if self._last is not None:
            (timed, models), encoded = self._last

            def cold(key: tuple[Models, Encoded]) -> tuple[bool, ...]:
                return key[0] != (timed, models), key[0][1] != models, key[1] != encoded

            groups.sort(key=cold)
        for key in groups:
            for cell in list(self._groups.get(key[0], {}).get(key[1], {}).values()):
                yield key, cell

    def _drop(self, key: tuple[Models, Encoded], cell: Cell) -> None:
        self._ended.add(cell.name)
        group = self._groups[key[0]]
        del group[key[1]][cell.name]
        if not group[key[1]]:
            del group[key[1]]

    def _has_ended(self, cell: Cell) -> bool:
        return cell.name in self._ended or ended(self._folder, cell)

    def _may_begin(self, cell: Cell) -> bool:
        if cell.reference is None or cell.reference in self._ended:
            return True
        home = self._folder / cell.reference
        return any((home / name).is_file() for name in ("row.json", "error.txt"))

    def _do(self, cell: Cell) -> bool:
        """Claim a cell and run it; False if it is not to be had here and now.

        Raises:
            SparksError: a link leads out of the folder, or the cell needs code that is not named.
        """
        without_code(cell.settings, self._folder / "plan.json", self._named)
        if self._claims.held(cell.piece):
            return False
        here = place(cell.settings)
        if here is None:
            self._elsewhere[cell.name] = f"the device {cell.settings['device']}"
            return False
        if cell.match == "wall_clock" and not self._alike(cell, here):
            return False
        check_inside(self._folder, self._folder / cell.name)
        with here.occupied(cell.timed) as free:
            claim = self._claims.take(cell.piece) if free else None
            if claim is None:
                return False
            home = claim.home.relative_to(self._folder).as_posix()
            with self._claims.worker.at(cell.name, device=here.name, run=home):
                run_cell(self._folder, self._tasks, cell, claim, here)
        return True

    def _alike(self, cell: Cell, here: Place) -> bool:
        """Whether seconds here are those of the reference's device."""
        row = read_json(self._folder / str(cell.reference) / "row.json")
        if row.get("device") in (None, here.name):
            return True
        self._elsewhere[cell.name] = f"{row['device']}, on which its reference was timed"
        return False


def _warm(cell: Cell) -> tuple[Models, Encoded]:
    settings = cell.settings
    models = repr({key: settings[key] for key in _MODELS if key in settings})
    return (cell.timed, models), (cell.task, settings["seed"])
