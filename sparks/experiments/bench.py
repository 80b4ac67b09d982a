"""`sparks bench`: any settings over a list of tasks, measured; and what it shares with `ablate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparks.claims import STALE
from sparks.errors import SparksError
from sparks.evaluation.metrics.measuring import choose
from sparks.experiments.ablate import plan_ablation
from sparks.experiments.cells import Cell, Plan, claim, load_plan
from sparks.experiments.measured import measure_cells
from sparks.experiments.progress import told
from sparks.experiments.promising import order
from sparks.experiments.results import write_results
from sparks.experiments.tasks import Task
from sparks.experiments.work import CellWork, refuse_failures, retry
from sparks.runs.resolve import check_settings, fetch_weights
from sparks.search.executors import Executor, Here
from sparks.settings.layers import merge, without_code
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings


def plan_bench(base: Settings, tasks: Sequence[Task], *, seeds: int = 1) -> Plan:
    """Every task and seed under the same settings."""
    solver = Config.resolve(base).solver.name if "solver" in base else "default"
    return plan_ablation(f"sparks bench: {solver}", base, {solver: {}}, tasks, seeds=seeds)


def run_experiment(
    output: Path,
    plan: Plan | None = None,
    *,
    executor: Executor | None = None,
    sheets: bool = False,
    metrics: str | None = None,
    promising: bool = False,
) -> str:
    """Run what is not finished and write tables and page; the Markdown.

    Args:
        output: the folder; without a plan, one that has its own and is gone on with.
        plan: added to what the folder has planned.
        executor: where the edits are made, by default in this process.
        sheets: also write contact sheets.
        metrics: groups or names of metrics by which finished edits are measured, as columns.
        promising: look at each edit first, and begin with the likeliest to happen.

    Raises:
        SparksError: settings that no edit can use (nothing is written), a plan that contradicts
            the folder's, or cells that failed (tables are written of the others); or a folder with
            cells left that need code which `plan` does not name.

    While another process runs the folder's cells, tables of what it has finished are written if no
    plan is given.
    """
    if metrics is not None:
        choose(metrics)  # there must be such
    if plan is None:
        load_plan(output)  # there must be one
    else:
        check_plan(plan)
    with claim(output) as free:
        if plan is not None and not free:
            raise SparksError(f"{output} is in use by another process; wait for it, or stop it")
        try:
            if free:
                _run(output, plan, executor or Here(), metrics, promising)
        finally:
            text = write_results(output, sheets)
    return text


def _run(
    output: Path, plan: Plan | None, executor: Executor, metrics: str | None, promising: bool
) -> None:
    settings = {cell.setting: cell.settings for cell in plan.cells} if plan else {}
    if plan is None:
        plan = load_plan(output)
    else:
        plan.save(output)
    retry(output, plan)
    named: Settings = {"typed": list(settings.values())}
    todo = check_left(output, plan, named)
    try:
        if todo:
            fetch_all(todo)
            if promising:
                order(output, plan, todo)
            with told(output):
                executor.run(CellWork(output.absolute(), Path.cwd(), named=named))
            refuse_failures(output, plan, len(todo))
    finally:  # cells that did not fail are measured all the same
        measure_cells(output, plan, metrics, executor)


def work_on(
    folder: Path,
    executor: Executor | None = None,
    code: Sequence[str] = (),
    stale: float = STALE,
    again: bool = False,
) -> str:
    """Make edits of a folder that are planned and that nobody is at; what became of all of them.

    Args:
        folder: of an experiment.
        executor: where, by default in this process.
        code: plugins by place that the plan may run.
        stale: seconds without a sign of life after which a worker's edit is taken over.
        again: also begin anew what has failed.

    Raises:
        SparksError: there is no plan, it names other code, or cells failed.
    """
    plan = load_plan(folder)
    if again:
        retry(folder, plan)
    named: Settings = {"code": [{"name": name} for name in code]}
    todo = check_left(folder, plan, named)
    if todo:
        fetch_all(todo)
        with told(folder):
            (executor or Here()).run(CellWork(folder.absolute(), Path.cwd(), stale, named))
    plan = load_plan(folder)  # it may have been added to
    refuse_failures(folder, plan, len(plan.cells))
    return f"{len(plan.cells)} of {len(plan.cells)} edits are finished."


def check_left(folder: Path, plan: Plan, named: Settings) -> list[Cell]:
    """The cells that are not finished.

    Raises:
        SparksError: one needs code that is not in `named`: anyone can write a plan.
    """
    todo = [cell for cell in plan.cells if not cell.row(folder).is_file()]
    without_code({"left": [cell.settings for cell in todo]}, folder / "plan.json", named)
    return todo


def fetch_all(cells: Sequence[Cell]) -> None:
    """Have the weights of all hub ids that cells name, once, before several workers want them.

    Raises:
        SparksError: some are not here and cannot be fetched.
    """
    parts = ({k: cell.settings[k] for k in _WEIGHED if k in cell.settings} for cell in cells)
    for settings in {repr(part): part for part in parts}.values():
        fetch_weights(settings)


_WEIGHED = ("model", "editor", "critic", "judge")  # settings that name weights


def check_plan(plan: Plan) -> None:
    """See that every setting can be used.

    Raises:
        SparksError: the first that cannot.
    """
    own = [task.settings(task.source) for task in plan.tasks if isinstance(task.source, Path)]
    for settings in {cell.setting: cell.settings for cell in plan.cells}.values():
        for more in own or [{}]:
            check_settings(merge(settings, more))
