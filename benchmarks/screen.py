"""Learn, calibrate and test what `sparks screen` says, in stages that can be started again.

    python benchmarks/screen.py features --tasks dev40 --seeds 4 --jobs 16 --output dev40.jsonl
    python benchmarks/screen.py features --tasks test40 --seeds 4 --jobs 16 --output test40.jsonl
    sparks bench --tasks dev40 --seeds 4 --output runs/dev40       # whether it happens: the labels
    sparks bench --tasks test40 --seeds 4 --output runs/test40
    python benchmarks/screen.py fit --features dev40.jsonl --rows runs/dev40/cells.csv
    python benchmarks/screen.py test --features test40.jsonl --rows runs/test40/cells.csv

`features` writes one line of JSON for each task and seed: all that a probe saw, and more of it than
a screening renders. `fit` chooses among predictors by cross-validation over the tasks of the
development half and writes the numbers into the package. `test` looks at the test half once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from sparks.experiments.tasks import Task, first_seed, task_list
from sparks.runs.cache import Cache
from sparks.runs.screening.probe import Effort

PROBED = Effort(noises=6, steps=2, draws=15)  # of features; a screening renders fewer
_CACHE = Cache()


def features(options: argparse.Namespace) -> None:
    """Probe every task and seed that has no line yet."""
    first = first_seed(options.tasks) or 0
    cells = [(t, first + n) for t in task_list(options.tasks) for n in range(options.seeds)]
    there = {(row["task"], row["seed"]) for row in _lines(options.output)}
    left = [(task, seed) for task, seed in cells if (task.name, seed) not in there][: options.count]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    began, context = time.perf_counter(), multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(options.jobs, context, _one_thread) as pool,
        options.output.open("a", encoding="utf-8") as file,
    ):
        running = [pool.submit(_features, task, seed) for task, seed in left]
        for count, done in enumerate(as_completed(running), 1):
            file.write(json.dumps(done.result()) + "\n")
            file.flush()
            print(f"{count}/{len(left)}  {time.perf_counter() - began:.0f} s", flush=True)


def _features(task: Task, seed: int) -> dict[str, Any]:
    from sparks.runs.prepare import prepare
    from sparks.runs.screening.probe import probe

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        settings = task.settings(task.write_source(Path(scratch)))
        prepared = prepare(settings | {"seed": seed, "device": "cpu"}, cache=_CACHE)
    seen, _ = probe(
        prepared.problem,
        prepared.solver,
        prepared.source.frames,
        static_prompt=task.static_prompt,
        effort=PROBED,
        seed=seed,
    )
    return {
        "task": task.name,
        "seed": seed,
        "action": task.action,
        "seconds": time.perf_counter() - began,
        "probe": seen.json(),
    }


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    stages = parser.add_subparsers(required=True)
    stage = stages.add_parser("features")
    stage.add_argument("--tasks", default="dev40")
    stage.add_argument("--seeds", type=int, default=4)
    stage.add_argument("--jobs", type=int, default=1)
    stage.add_argument("--count", type=int, help="at most so many; all by default")
    stage.add_argument("--output", type=Path, required=True)
    stage.set_defaults(run=features)
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
