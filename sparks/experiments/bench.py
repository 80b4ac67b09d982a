"""`sparks bench`: any settings over a list of tasks, measured; and what it shares with `ablate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparks.errors import SparksError
from sparks.evaluation.metrics.measuring import choose
from sparks.experiments.ablate import plan_ablation
from sparks.experiments.cells import Plan, Spread, claim, in_processes, load_plan, run_cells
from sparks.experiments.measured import measure_cells
from sparks.experiments.results import write_results
from sparks.experiments.tasks import Task
from sparks.runs.resolve import check_settings
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
    jobs: int = 1,
    spread: Spread | None = None,
    sheets: bool = False,
    metrics: str | None = None,
) -> str:
    """Run what is not finished and write tables and page; the Markdown.

    Args:
        output: the folder; without a plan, one that has its own and is gone on with.
        plan: added to what the folder has planned.
        jobs: processes for cells that may run beside others.
        spread: another executor for those.
        sheets: also write contact sheets.
        metrics: groups or names of metrics by which finished edits are measured, as columns.

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
                _run(output, plan, spread or (in_processes(jobs) if jobs > 1 else map), metrics)
        finally:
            text = write_results(output, sheets)
    return text


def _run(output: Path, plan: Plan | None, spread: Spread, metrics: str | None) -> None:
    typed = [cell.settings for cell in plan.cells] if plan else []
    if plan is None:
        plan = load_plan(output)
    else:
        plan.save(output)
    left = [cell.settings for cell in plan.cells if not cell.row(output).is_file()]
    without_code({"left": left}, output / "plan.json", {"typed": typed})
    try:
        run_cells(output, plan, spread)
    except SparksError:  # the cells that did not fail are measured all the same
        measure_cells(output, plan, metrics, spread=spread)
        raise
    measure_cells(output, plan, metrics, spread=spread)


def check_plan(plan: Plan) -> None:
    """See that every setting can be used.

    Raises:
        SparksError: the first that cannot.
    """
    own = [task.settings(task.source) for task in plan.tasks if isinstance(task.source, Path)]
    for settings in {cell.setting: cell.settings for cell in plan.cells}.values():
        for more in own or [{}]:
            check_settings(merge(settings, more))
