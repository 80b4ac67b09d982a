"""How well tuned controls transfer: each edit's controls on the other clips asked to do the same.

    sparks bench --tasks test40 --seeds 4 --output runs/test
    python benchmarks/transfer.py runs/test --output runs/transfer --jobs 8

Nothing is searched: the edits are those of a finished `sparks bench` or `sparks ablate`. For every
ordered pair of its tasks that ask for the same action, and every noise seed, the controls of the
first are rendered on the clip of the second, under the noise that was found with them; so is the
prompt alone, so that the difference is the controls'. Measured on the decoded videos. What is
finished is not made again.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import evidence
from ledger import append, line

from sparks.evaluation.statistics.tables import Estimate, estimate, markdown
from sparks.experiments.cells import Cell, Plan, load_plan
from sparks.experiments.executors.processes import Processes
from sparks.experiments.sources import ready
from sparks.experiments.tasks import Task
from sparks.files import write_text
from sparks.media.clip import read_clip
from sparks.models.quiet import quiet_libraries
from sparks.pocket import measure
from sparks.pocket.likeness import likeness
from sparks.pocket.tasks import Source
from sparks.runs.cache import Cache
from sparks.runs.transfer import transfer
from sparks.search.executors import Executor, Pieces

Row = dict[str, Any]
Pair = tuple[Cell, Cell]  # whose controls, and on whose clip
SHOWN = {"baseline": "prompt only", "transfer": "with another clip's controls", "tuned": "tuned"}
DIFFERENCES = (("transfer", "baseline"), ("transfer", "tuned"))
_CACHE = Cache()


def pairs(folder: Path, plan: Plan, setting: str) -> dict[str, Pair]:
    """By name: finished edits of one setting and noise seed that ask for the same action."""
    tasks = {task.name: task for task in plan.tasks}
    cells = [
        cell
        for cell in plan.cells
        if cell.setting == setting and cell.match is None and cell.row(folder).is_file()
    ]
    return {
        f"{one.task}-on-{other.task}-{one.settings['seed']}": (one, other)
        for one, other in permutations(cells, 2)
        if one.settings["seed"] == other.settings["seed"]
        and tasks[one.task].action == tasks[other.task].action
    }


def make(run: Path, setting: str, output: Path, executor: Executor) -> None:
    """Render and measure what is not there yet.

    Args:
        run: folder of the finished edits.
        setting: which of its settings; of `sparks bench` there is one.
        output: `pairs/NAME` for each pair, with its row, and `sources`.
        executor: where it is done.
    """
    run, output, plan = run.absolute(), output.absolute(), load_plan(run)
    chosen = pairs(run, plan, setting)
    files = {name: output / "pairs" / name / "row.json" for name in chosen}
    todo = {name: file for name, file in files.items() if not file.is_file()}
    output.mkdir(parents=True, exist_ok=True)
    if todo:
        tasks = {task.name: task for task in plan.tasks}
        for task in {other.task: None for _, other in chosen.values()}:
            ready(output, tasks[task])
        executor.run(
            Pieces.writing(output, todo, functools.partial(_make, run, output, tasks, chosen))
        )


def _make(
    run: Path, output: Path, tasks: dict[str, Task], chosen: dict[str, Pair], name: str
) -> None:
    """One pair, and what came of it."""
    (donor, target), folder = chosen[name], output / "pairs" / name
    task = tasks[target.task]
    if not (folder / "result.json").is_file():
        settings = {k: v for k, v in target.settings.items() if k in ("device", "sampling")}
        settings |= task.settings(ready(output, task))
        shutil.rmtree(folder, ignore_errors=True)  # what was killed half way
        transfer(run / donor.name, settings, folder, cache=_CACHE)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    own = json.loads(target.row(run).read_text(encoding="utf-8"))
    row: Row = {"donor": donor.task, "task": task.name, "action": task.action}
    row |= {"seed": target.settings["seed"], "prompt": task.prompt, "folder": f"pairs/{name}"}
    row |= {f"{what}_tuned": own[f"{what}_edited"] for what in ("happened", "true")}
    for what, video in (("baseline", "baseline"), ("transfer", "edited")):
        row |= {f"{k}_{what}": v for k, v in truth(folder / f"{video}.mp4", task).items()}
        row[f"p_yes_{what}"] = result[f"p_yes_{what}"]
    row["gap"] = result["gap_transfer"] - result["gap_baseline"]
    write_text(folder / "row.json", json.dumps(row, indent=1) + "\n")


def truth(video: Path, task: Task) -> dict[str, bool]:
    """Whether the action happened, and whether the object kept its shape as well."""
    assert isinstance(task.source, Source)
    scene, frames = task.source.scene(), read_clip(video).frames[None]
    happened = bool(measure.judge(frames, [task.prompt]).happened)
    kept = bool(likeness(frames, scene, measure.track(frames, scene.colour)).kept)
    return {"happened": happened, "true": happened and kept}


def rows_of(output: Path) -> list[Row]:
    """The rows of all transfers that are finished."""
    files = sorted(output.glob("pairs/*/row.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def report(output: Path) -> str:
    """Rates with intervals over clips, donors and seeds; by action; whether donors matter."""
    rows = rows_of(output)
    lines = [
        [
            title,
            *(
                evidence.mean(estimate(rows, f"{what}_{key}"), ".2f")
                for what in ("happened", "true")
            ),
        ]
        for key, title in SHOWN.items()
    ]
    for one, other in DIFFERENCES:
        cells = (
            evidence.paired(more(rows, f"{w}_{one}", f"{w}_{other}")) for w in ("happened", "true")
        )
        lines.append([f"{SHOWN[one]} - {SHOWN[other]}, paired", *cells])
    parts = [
        f"{len(rows)} transfers, of {len({row['seed'] for row in rows})} noise seeds.\n",
        markdown(["mean [95 % interval]", "happened", "happened and shape kept"], lines),
        by_action(rows),
        by_donor(rows),
    ]
    return "\n".join(parts)


def figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same for the ledger."""
    columns = [f"{what}_{key}" for what in ("happened", "true") for key in SHOWN]
    found = {column: estimate(rows, column) for column in columns}
    found |= {
        f"{what}_{one} - {other}": more(rows, f"{what}_{one}", f"{what}_{other}")
        for what in ("happened", "true")
        for one, other in DIFFERENCES
    }
    return [{"metric": name, **asdict(each)} for name, each in found.items() if each is not None]


def more(rows: Sequence[Row], one: str, other: str) -> Estimate | None:
    """How much more of one column than of another, over clips and what was done to each."""
    return estimate([row | {"more": float(row[one]) - float(row[other])} for row in rows], "more")


def by_action(rows: Sequence[Row]) -> str:
    """How many happened."""
    actions = {
        action: [r for r in rows if r["action"] == action]
        for action in dict.fromkeys(r["action"] for r in rows)
    }
    lines = [
        [
            action.replace("_", " "),
            str(len(own)),
            *(str(sum(row[f"happened_{key}"] for row in own)) for key in SHOWN),
        ]
        for action, own in actions.items()
    ]
    return markdown(["happened", "transfers", *SHOWN.values()], lines)


def by_donor(rows: Sequence[Row]) -> str:
    """Whether controls that move another clip are those that moved their own."""
    moved = {(row["task"], row["seed"]): row["happened_tuned"] for row in rows}
    lines = []
    for title, did in (("moved their own clip", True), ("did not", False)):
        own = [row for row in rows if moved.get((row["donor"], row["seed"])) == did]
        lines.append([title, evidence.rate(sum(row["happened_transfer"] for row in own), len(own))])
    return markdown(["controls that", "move another, Wilson's interval"], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--setting", help="which of the run's settings; by default its first")
    parser.add_argument("--output", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--ledger", type=Path, help="to which a line is added")
    parser.add_argument("--commit", default="", help="of the edits; HEAD if left out")
    parser.add_argument("--note", default="")
    options = parser.parse_args(arguments)
    setting = options.setting or load_plan(options.run).cells[0].setting
    with quiet_libraries():
        make(options.run, setting, options.output, Processes(options.jobs))
    if not (rows := rows_of(options.output)):
        sys.exit("no two of the edits ask for the same action")
    print(report(options.output))
    if options.ledger:
        plan = load_plan(options.run)
        title = "benchmarks/transfer.py"
        note = (options.commit, options.note)
        append(options.ledger, line(plan, rows, figures(rows), title, *note))


if __name__ == "__main__":
    main()
