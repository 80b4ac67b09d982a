"""Every table of docs/evidence.md anew, by one command that can be stopped and started again.

    python benchmarks/tables.py --output runs/tables --jobs 64 --set device=cpu
    python benchmarks/tables.py --output runs/tables --jobs 64 --set device=cpu --only seconds
    python benchmarks/tables.py --output runs/tables --finished

All edits of all tables are the cells of one experiment, `edits`, so that N workers have work to the
end and settings that decide the same edit are run once. Every table is then laid out of them as an
experiment of its own, whatever is finished, as `sparks ablate` would have written it: `solvers`,
`seconds` (each solver has the seconds of the first on the same task and seed), the axes, and
`transfer`. `tables.md` has the figures. Workers are pinned: those whose seconds count share their
cores with nobody. See benchmarks/pinned.py for what the others cost them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import evidence
import transfer

from sparks import registry
from sparks.errors import SparksError
from sparks.experiments.ablate import plan_ablation, settings_of
from sparks.experiments.cells import Cell, Counter, Plan, claim, finished
from sparks.experiments.executors.processes import Processes
from sparks.experiments.progress import told
from sparks.experiments.results import write_results
from sparks.experiments.tasks import first_seed, task_list
from sparks.experiments.work import CellWork, refuse_failures, retry
from sparks.files import write_text
from sparks.models.quiet import quiet_libraries
from sparks.runs.resolve import check_settings
from sparks.search.executors import Executor
from sparks.settings.layers import assignments
from sparks.settings.yaml import Settings

SOLVERS = str(Path(__file__).with_name("solvers.yaml"))
DEFAULT = "hybrid"  # of SOLVERS
EDITS, TRANSFER = "edits", "transfer"
Key = tuple[str, str, int, Counter | None]  # what is edited how; under which budget


@dataclass(frozen=True)
class Table:
    """An axis over a list of tasks; `match` is the counter that all get as the first has it."""

    axis: str
    tasks: str = "test10"
    match: Counter | None = None

    def plan(self, base: Settings, seeds: int, count: int | None) -> Plan:
        """What `sparks ablate` would run, of the first `count` tasks."""
        base = base | {"seed": first_seed(self.tasks)}
        match = {self.match: seeds} if self.match else None
        tasks, overlays = task_list(self.tasks)[:count], settings_of(self.axis)
        title = f"sparks ablate {Path(self.axis).stem}"
        return plan_ablation(title, base, overlays, tasks, seeds=seeds, match=match)


#: In order of worth; equal edits are made for the first.
TABLES = {
    "solvers": Table(SOLVERS, "test40"),
    "seconds": Table(SOLVERS, "test12", "wall_clock"),
    **{
        name: Table(name)
        for name in ("modality", "regularisation", "space", "gradient", "audio_init", "critic")
    },
}
AXES = tuple(TABLES)[2:]


class Pool:
    """The edits of several tables, equal ones once.

    Attributes:
        plans: of each table.
        cells: by what they are; see `key`.
    """

    def __init__(self, plans: dict[str, Plan]) -> None:
        self.plans = plans
        self._digests: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self.cells: dict[Key, Cell] = {}
        for table, plan in plans.items():
            for cell in plan.cells:
                self._add(table, plan, cell)

    def key(self, cell: Cell) -> Key:
        """What tells an edit from others, whatever its setting is called."""
        settings = {key: value for key, value in cell.settings.items() if key != "seed"}
        if (said := repr(settings)) not in self._digests:
            self._digests[said] = decides(settings)
        return self._digests[said], cell.task, cell.settings["seed"], cell.match

    def _add(self, table: str, plan: Plan, cell: Cell) -> None:
        key = self.key(cell)
        label = cell.setting if table in ("solvers", "seconds") else f"{table}.{cell.setting}"
        name = self._names.setdefault(key[0], label)
        reference = cell.reference
        if reference is not None:
            first = next(each for each in plan.cells if each.name == reference)
            reference = self.cells[self.key(first)].name
        mine = replace(cell, setting=name, reference=reference)
        before = self.cells.get(key, mine)
        self.cells[key] = replace(before, alone=before.alone or mine.alone)

    def plan(self, tables: Sequence[str]) -> Plan:
        """The edits of some of the tables: all tasks and settings of one noise seed, then more."""
        wanted = {self.key(cell): None for name in tables for cell in self.plans[name].cells}
        cells = [self.cells[key] for key in wanted]
        tasks = {task.name: task for name in tables for task in self.plans[name].tasks}
        cells.sort(key=lambda cell: (cell.settings["seed"], [*tasks].index(cell.task)))
        cells.sort(key=lambda cell: cell.reference is not None)
        return Plan("all tables", list(tasks.values()), cells)


def decides(settings: Settings) -> str:
    """A digest of all that decides an edit but for task and seed; defaults need not be said."""
    config = check_settings(settings)
    space = config.space
    known = inspect.signature(registry.spaces.get(space.name)).parameters
    said = {
        name: value
        for name, value in space.options.items()
        if name not in known or known[name].default != value
    }
    bare = config.model_copy(update={"space": type(space)(name=space.name, **said)})
    return json.dumps([bare.digests(), config.budget], sort_keys=True)


def run(folder: Path, plan: Plan, executor: Executor) -> None:
    """Make what is not finished of the plan, and of what was planned before.

    Raises:
        SparksError: the folder is in use, or edits failed.
    """
    with claim(folder) as free:
        if not free:
            raise SparksError(f"{folder} is in use by another process; wait, or give --finished")
        plan.save(folder)
        retry(folder, plan)
        left = [cell for cell in plan.cells if not cell.row(folder).is_file()]
        print(f"{len(left)} of {len(plan.cells)} edits to make", file=sys.stderr, flush=True)
        if left:
            with told(folder):
                executor.run(CellWork(folder.absolute(), Path.cwd()))
            refuse_failures(folder, plan, len(left))


def lay(pool: Pool, table: str, output: Path) -> list[dict[str, Any]]:
    """Make a table's own experiment of the edits that are finished; its rows."""
    plan, folder, edits = pool.plans[table], output / table, output / EDITS
    rows = [cell for cell in plan.cells if pool.cells[pool.key(cell)].row(edits).is_file()]
    if not rows:
        return []
    plan.save(folder)
    shutil.copytree(edits / "sources", folder / "sources", dirs_exist_ok=True)
    for cell in rows:
        if not cell.row(folder).is_file():
            link(pool.cells[pool.key(cell)], edits, cell, folder)
    write_results(folder)
    return finished(folder, plan)


def link(made: Cell, edits: Path, cell: Cell, folder: Path) -> None:
    """An edit under the name that a table gives it; the files are the same."""
    row = json.loads(made.row(edits).read_text(encoding="utf-8"))
    row |= {"setting": cell.setting, "folder": cell.name}
    target = folder / cell.name
    half = target.with_name(f".{target.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(edits / made.name, half, copy_function=share)
    write_text(half / "row.json", json.dumps(row, indent=1) + "\n")
    half.rename(target)


def share(source: str, target: str) -> None:
    """One file under two names, or a copy where that cannot be."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def write(pool: Pool, output: Path, tables: Sequence[str]) -> None:
    """Lay all tables of which anything is finished, and write their figures."""
    parts = []
    for table in tables:
        if rows := lay(pool, table, output):
            count = f"{len(rows)} of {len(pool.plans[table].cells)} edits"
            against = rows[0]["setting"] if table in AXES else None
            parts.append(f"# {table}, {count}\n\n{evidence.summary(rows, against)}")
    if transfer.rows_of(output / TRANSFER):
        parts.append(f"# {TRANSFER}\n\n{transfer.report(output / TRANSFER)}")
    if parts:
        write_text(output / "tables.md", "\n".join(parts))
        print("\n".join(parts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, lay out, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/tables"))
    parser.add_argument("--jobs", type=int, default=1, help="workers, each with its share of cores")
    parser.add_argument("--only", help=f"some of {', '.join([*TABLES, TRANSFER])}; axes for those")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="pairs")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--tasks", type=int, metavar="N", help="the first N of every list")
    parser.add_argument("--finished", action="store_true", help="make no edits; what is there")
    options = parser.parse_args(arguments)
    names = chosen(options.only)
    base = assignments(options.pairs)
    with quiet_libraries():
        plans = {n: t.plan(base, options.seeds, options.tasks) for n, t in TABLES.items()}
        pool, executor = Pool(plans), Processes(options.jobs)
        try:
            if not options.finished:
                made = pool.plan([n for n in TABLES if n in names] or ["solvers"])
                run(options.output / EDITS, made, executor)
                if TRANSFER in names:
                    donors = options.output / EDITS, DEFAULT
                    transfer.make(*donors, options.output / TRANSFER, executor)
        finally:
            write(pool, options.output, list(TABLES))


def chosen(only: str | None) -> list[str]:
    """Names of tables, all by default.

    Raises:
        SparksError: one that there is not.
    """
    every = [*TABLES, TRANSFER]
    names = [n for part in (only or ",".join(every)).split(",") for n in named(part)]
    if unknown := [name for name in names if name not in every]:
        raise SparksError(f"no table {unknown[0]!r}; choose from {', '.join(every)}, axes")
    return names


def named(part: str) -> Sequence[str]:
    """`axes` stands for all of them."""
    return AXES if part == "axes" else [part]


if __name__ == "__main__":
    try:
        main()
    except SparksError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
