"""Do tuned sounds group by motion, and text residuals by object?

    sparks bench --tasks test40 --seeds 4 --jobs N --output runs/bench
    python benchmarks/maps.py runs/bench --output runs/maps

Cosine distances of all finished edits of a bench in the full space: of alpha, of what tuning has
changed of it (alpha - alpha_0), and of delta_v. For each, whether the nearest run has the same
label, and the silhouette, against labels shuffled over tasks. Runs of one task or of one noise seed
do not count as neighbours.

The claims were fixed before the test half was looked at: `alpha` by the action that is asked for,
and `delta_v` by shape, each by the accuracy of the nearest neighbour.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ledger import append, line

from sparks.evaluation.statistics.tables import markdown
from sparks.experiments.cells import Plan, load_plan
from sparks.experiments.sources import source
from sparks.files import write_text
from sparks.insight.charting import task_of
from sparks.insight.finished import reopen
from sparks.insight.neighbours import Array, apart, cosine_distances, gram, grouping
from sparks.insight.tuned import Tuned, read_runs
from sparks.models.quiet import quiet_libraries
from sparks.runs.cache import Cache

LABELS = {"asks": "action asked for", "shows": "action of the source"}
LABELS |= {"shape": "shape", "colour": "colour"}
VECTORS = ("alpha", "alpha - alpha_0", "delta_v")
CLAIMS = (("alpha", "asks"), ("delta_v", "shape"))
_CLAIMED = ("all", "accuracy")
SUBSETS = {"all": "All tuned edits", "happened": "Those that happened"}


def untuned(bench: Path, plan: Plan, runs: Sequence[Tuned]) -> dict[str, Array]:
    """alpha_0 of every task, by its name."""
    cache, found = Cache(), dict[str, Array]()
    tasks = {task.name: task for task in plan.tasks}
    for run in runs:
        name = str(run.fields["task"])
        if name in found:
            continue
        video = source(bench, tasks[name])
        if not video.is_file():
            video.parent.mkdir(exist_ok=True)
            tasks[name].write_source(video.parent)
        with quiet_libraries():
            finished = reopen(run.folder, {"video": str(video)}, cache=cache)
        found[name] = finished.baseline.controls.alpha.flatten().numpy()
    return found


def vectors(runs: Sequence[Tuned], starts: dict[str, Array]) -> Iterator[tuple[str, list[Array]]]:
    """Each of VECTORS of all runs."""
    alpha = [run.vector("alpha") for run in runs]
    yield "alpha", alpha
    changed = [a - starts[str(r.fields["task"])] for a, r in zip(alpha, runs, strict=True)]
    yield "alpha - alpha_0", changed
    yield "delta_v", [run.vector("delta_v") for run in runs]


def measured(what: str, runs: Sequence[Tuned], values: Sequence[Array]) -> list[dict[str, Any]]:
    """How each label groups; runs that have not tuned it are left out."""
    kept = [i for i, value in enumerate(values) if np.any(value)]
    runs = [runs[i] for i in kept]
    distances = cosine_distances(gram([values[i] for i in kept]))
    tasks, seeds = [task_of(run) for run in runs], [run.fields["seeds.search"] for run in runs]
    away = apart(tasks, seeds)
    return [
        {"of": what, "by": by, "measure": name, **asdict(found)}
        for by in LABELS
        for name, found in grouping(
            distances, [run.fields[by] for run in runs], tasks, away
        ).items()
    ]


def table(found: Sequence[dict[str, Any]]) -> str:
    """As Markdown, a part for each subset."""
    parts = []
    for subset, title in SUBSETS.items():
        body = [
            [
                *(each["of"], LABELS[each["by"]], each["measure"]),
                "{mean:.2f} [{low:.2f}, {high:.2f}]".format(**each["found"]),
                "{shuffled:.2f} [{low:.2f}, {high:.2f}]".format(**each),
                f"{each['p']:.4f}",
            ]
            for each in found
            if each["subset"] == subset
        ]
        count = max((e["found"]["count"] for e in found if e["subset"] == subset), default=0)
        header = ["of", "by", "measure", "found", "labels shuffled", "p"]
        parts.append(f"## {title}: {count}\n\n{markdown(header, body)}" if body else "")
    return "\n".join(parts)


def figures(found: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """As the ledger has them."""
    for each in found:
        metric = f"{each['of']} by {each['by']}: {each['measure']}"
        shuffled = {name: each[name] for name in ("shuffled", "p")}
        yield (
            {"match": None, "setting": each["subset"], "metric": metric} | each["found"] | shuffled
        )


def verdicts(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What was claimed, and whether it holds."""
    known = {(e["of"], e["by"]): e for e in found if (e["subset"], e["measure"]) == _CLAIMED}
    for of, by in CLAIMS:
        each = known[of, by]
        yield (
            f"{of} by {LABELS[by]}: {each['found']['mean']:.3f} of nearest neighbours, "
            f"{each['shuffled']:.3f} with labels shuffled, p {each['p']:.4f}; "
            f"{'holds' if each['p'] < 0.025 else 'is not shown'}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/maps"))
    parser.add_argument("--ledger", type=Path, help="append a line to it, e.g. docs/ledger.jsonl")
    parser.add_argument("--commit", default="", help="for the ledger; HEAD's if left out")
    parser.add_argument("--note", default="", help="for the ledger")
    options = parser.parse_args(arguments)
    bench = options.bench.absolute()
    plan, runs = load_plan(bench), read_runs([bench / "cells"])
    runs = [run for run in runs if "task" in run.fields]
    starts = untuned(bench, plan, runs)
    found = []
    for subset in SUBSETS:
        some = [run for run in runs if subset == "all" or run.fields["happened_edited"]]
        for what, values in vectors(some, starts):
            found += [{"subset": subset} | each for each in measured(what, some, values)]
    text = "\n".join([table(found), *verdicts(found)]) + "\n"
    write_text(options.output / "table.json", json.dumps(found, indent=1) + "\n")
    write_text(options.output / "table.md", text)
    print(text)
    if options.ledger is not None:
        rows = [dict(run.fields) for run in runs]
        title = "benchmarks/maps.py"
        made = line(plan, rows, list(figures(found)), title, options.commit, options.note)
        append(options.ledger, made)


if __name__ == "__main__":
    main()
