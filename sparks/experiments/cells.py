"""Many edits in one folder: planned, run in order or in parallel, never run twice.

plan.json                what is compared, on which tasks: all that is needed to go on
sources/TASK.mp4         what is edited
cells/SETTING/TASK-SEED  one run directory each, with its `row.json` once it is finished and
                         measured, or `error.txt`
"""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import os
import re
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from sparks.errors import SparksError
from sparks.experiments.tasks import Name, Task
from sparks.files import replacing, write_text
from sparks.locks import LOCKS, locked
from sparks.runs.cache import Cache
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings

log = logging.getLogger("sparks")

Counter = Literal["qwen_calls", "renders", "wall_clock"]

#: Applies a function to cells, in any order and place, and yields what it returns; `map` is one.
#: Another executor (Ray's pool, a queue of batch jobs) is another function of this form.
Spread = Callable[[Callable[["Cell"], "Cell"], Sequence["Cell"]], Iterable["Cell"]]


@dataclass(frozen=True)
class Cell:
    """One edit of an experiment.

    Attributes:
        setting: what is compared, e.g. a solver's name.
        task: the name of the task.
        settings: the user's settings, seed included and video left out.
        match: the counter whose value in the cell `reference` is this one's budget.
        reference: name of that cell; None for one with a budget of its own.
        alone: nothing may run beside it, since its seconds count.
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

    def row(self, folder: Path) -> Path:
        """The file that says that it is finished, and what it reached."""
        return folder / self.name / "row.json"


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
            if cell.task not in tasks or cell.reference not in (None, *cells):
                raise SparksError(f"{cell.name} needs a task or a reference that is not planned")

    def save(self, folder: Path) -> None:
        """Write `plan.json`, adding to what is planned there already.

        Raises:
            SparksError: a cell of the same name has other settings there.
        """
        if (folder / "plan.json").is_file():
            earlier = load_plan(folder)
            planned = {cell.name: cell for cell in earlier.cells}
            for cell in self.cells:
                if planned.setdefault(cell.name, cell) != cell:
                    raise SparksError(
                        f"{folder} holds {cell.name} with other settings; give another --output"
                    )
            names = {task.name for task in self.tasks}
            self.tasks += [task for task in earlier.tasks if task.name not in names]
            self.cells = list(planned.values())
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
            names = {path.name for path in folder.iterdir()}.difference(LOCKS)
            if names and "plan.json" not in names:
                raise SparksError(f"output {folder} holds no experiment; choose a new folder")
            ours = opening.enter_context(locked(folder))
        except OSError as error:
            raise SparksError(f"cannot write {folder}: {error.strerror}; choose another") from error
        yield ours


def finished(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """The rows of all finished cells, in the order of the plan."""
    files = [cell.row(folder) for cell in plan.cells]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def in_processes(jobs: int) -> Spread:
    """Spread over processes of this machine that share its cores."""

    def spread(work: Callable[[Cell], Cell], cells: Sequence[Cell]) -> Iterator[Cell]:
        left = {cell.name: cell for cell in cells}
        for _ in range(_PATIENCE):
            try:
                for cell in _pooled(jobs, work, list(left.values())):
                    del left[cell.name]
                    yield cell
                return
            except BrokenProcessPool:
                log.warning("a worker process was ended; going on with %d edits", len(left))
        raise SparksError(
            f"worker processes were ended {_PATIENCE} times; is memory short? Run it again with "
            f"fewer --jobs than {jobs}: what is finished is kept"
        )

    return spread


_PATIENCE = 4  # pools of processes that may break


def _pooled(jobs: int, work: Callable[[Cell], Cell], cells: Sequence[Cell]) -> Iterator[Cell]:
    context = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
    pool = ProcessPoolExecutor(jobs, context, _begin_worker, (jobs, os.getpid()))
    try:
        for done in as_completed([pool.submit(work, cell) for cell in cells]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def run_cells(folder: Path, plan: Plan, spread: Spread = map) -> None:
    """Run what is not finished: cells that need the machine alone one by one, then the others.

    Raises:
        SparksError: some cells failed; the others are finished.
    """
    work = functools.partial(run_cell, folder, plan.tasks)
    todo = [cell for cell in plan.cells if not cell.row(folder).is_file()]
    waves: list[tuple[Spread, list[Cell]]] = [
        (map, [cell for cell in todo if cell.alone]),
        (spread, [cell for cell in todo if not cell.alone and cell.reference is None]),
        (spread, [cell for cell in todo if not cell.alone and cell.reference is not None]),
    ]
    _write_sources(folder, plan.tasks if todo else [])
    clock = _Clock(len(todo))
    for chosen, cells in waves:
        for cell in chosen(work, cells) if cells else ():
            clock.tell(folder, cell)
    failed = [cell for cell in todo if not cell.row(folder).is_file()]
    if failed:
        first = (folder / failed[0].name / "error.txt").read_text(encoding="utf-8")
        raise SparksError(
            f"{len(failed)} of {len(todo)} cells failed, {failed[0].name} with "
            f"{first.strip().splitlines()[-1]!r}; see error.txt there, and run again to retry"
        )


def run_cell(folder: Path, tasks: Sequence[Task], cell: Cell) -> Cell:
    """Edit, measure and write `row.json`, or `error.txt` if something fails; returns the cell."""
    home = folder / cell.name
    if not home.resolve().is_relative_to(folder.resolve()):
        raise SparksError(f"{home} leads out of {folder} by a link; remove the link")
    (home / "error.txt").unlink(missing_ok=True)  # of the last try; a run begins in an empty folder
    try:
        task = next(task for task in tasks if task.name == cell.task)
        settings = merge(cell.settings, task.settings(source(folder, task)))
        row = _finish(home, task, settings | _matched(folder, cell))
    except Exception as error:  # one cell in hundreds must not take the others with it
        text = str(error) if isinstance(error, SparksError) else traceback.format_exc()
        write_text(home / "error.txt", text + "\n")
        return cell
    keys = {"setting": cell.setting, "match": cell.match, "task": cell.task}
    row = keys | {"seed": cell.settings["seed"], "prompt": task.prompt, "folder": cell.name} | row
    write_text(cell.row(folder), json.dumps(row, indent=1) + "\n")
    return cell


_CACHE = Cache()  # what the cells of one process load once


def _finish(home: Path, task: Task, settings: Settings) -> dict[str, Any]:
    from sparks.experiments.score import score
    from sparks.runs.edit import perform
    from sparks.runs.folder import discard
    from sparks.runs.prepare import prepare

    result = home / "result.json"
    if result.is_file():
        return score(home, task, prepare(settings, cache=_CACHE))
    discard(home)  # half a run is no use: its seconds would not be those of one search
    edited, prepared = perform(settings, home, cache=_CACHE, pictures=False)
    if edited.stopped_by == "interrupt":
        result.unlink(missing_ok=True)
        raise KeyboardInterrupt
    return score(home, task, prepared)


def _matched(folder: Path, cell: Cell) -> Settings:
    """The budget that the reference cell was measured to need."""
    if cell.reference is None:
        return {}
    file = folder / cell.reference / "row.json"
    if not file.is_file():
        raise SparksError(f"its reference {cell.reference} failed")
    spent = json.loads(file.read_text(encoding="utf-8"))[str(cell.match)]
    return {"budget": f"{cell.match}={spent:.6g}"}


def _write_sources(folder: Path, tasks: Iterable[Task]) -> None:
    (folder / "sources").mkdir(parents=True, exist_ok=True)
    for task in tasks:
        path = source(folder, task)
        if not path.is_file() and (written := task.write_source(path.parent)) != path:
            with replacing(path) as temporary:
                shutil.copyfile(written, temporary)


def source(folder: Path, task: Task) -> Path:
    """The video that a task edits."""
    suffix = task.source.suffix if isinstance(task.source, Path) else ".mp4"
    return folder / "sources" / f"{task.name}{suffix}"


def _begin_worker(jobs: int, driver: int) -> None:
    """Share the cores with the other workers, and end with the driver however that ends."""
    import torch

    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // jobs)))


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1)
    os._exit(1)  # half an edit is made anew by the next driver


class _Clock:
    """Says after each cell how it went and how long the rest may take."""

    def __init__(self, count: int) -> None:
        self.count, self.done, self.origin = count, 0, time.perf_counter()

    def tell(self, folder: Path, cell: Cell) -> None:
        self.done += 1
        left = (time.perf_counter() - self.origin) / self.done * (self.count - self.done)
        how = "failed"
        if cell.row(folder).is_file():
            row = json.loads(cell.row(folder).read_text(encoding="utf-8"))
            how = f"P(yes) {row['p_yes_baseline']:.3f} -> {row['p_yes_edited']:.3f}"
        print(
            f"{self.done}/{self.count}  {cell.name}  {how}  ({left / 60:.0f} min left)",
            file=sys.stderr,
            flush=True,
        )
