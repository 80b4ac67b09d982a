"""What edits cost that run beside others, each pinned to cores of its own.

    python benchmarks/pinned.py --jobs 64 [--solver adam] [--calls 10] [--output runs/pinned]

The workers are those of `sparks ablate --jobs N`, which share the cores of this machine among them.
First one of them makes a few edits of the bundled model while the others' cores idle, then all of
them make as many each. Seconds of the search are compared between the edits that both made (the
same task, solver and noise seeds). One line of `pinned.jsonl`, and a table. Exit code 1 if the
others cost more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparks.evaluation.statistics.tables import markdown
from sparks.experiments.ablate import plan_ablation
from sparks.experiments.bench import run_experiment
from sparks.experiments.cells import finished, load_plan
from sparks.experiments.executors.processes import Processes
from sparks.experiments.tasks import task_list
from sparks.models.quiet import quiet_libraries
from sparks.settings.yaml import Settings

Rows = Sequence[dict[str, Any]]
LIMIT = 0.05  # more slowdown than this is told as such
FIRST = 3001  # of the development half's noise seeds


def make(folder: Path, settings: Settings, edits: int, jobs: int) -> None:
    """Edits of one task under as many noise seeds; one alone is made by one of the workers."""
    plan = plan_ablation("pinned", settings, {"pinned": {}}, task_list("dev10")[:1], seeds=edits)
    run_experiment(folder, plan, executor=Processes(jobs))


def rows(folder: Path) -> list[dict[str, Any]]:
    """Of all edits."""
    return finished(folder, load_plan(folder))


def compared(alone: Rows, beside: Rows) -> dict[str, Any]:
    """Medians of the seconds, of all and of the same edits, and how many cores they were on."""
    same = {row["seed"] for row in alone}
    one, other = ([row["wall_clock"] for row in rows] for rows in (alone, beside))
    again = [row["wall_clock"] for row in beside if row["seed"] in same]
    return {
        "alone": statistics.median(one),
        "beside, the same edits": statistics.median(again),
        "beside, all": statistics.median(other),
        "slowdown": statistics.median(other) / statistics.median(one) - 1,
        "slowest": max(other) / statistics.median(one) - 1,
        "edits": [len(one), len(other)],
        "places": len({row["where"] for row in beside}),
    }


def machine() -> dict[str, Any]:
    """Its processor, and how many of its logical cores share a physical one."""
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    shared = siblings.read_text(encoding="utf-8").strip() if siblings.is_file() else "unknown"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return {"processor": name, "cores": cores, "core 0 shares with": shared}


def main(arguments: Sequence[str] | None = None) -> None:
    """Time, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--solver", default="adam")
    parser.add_argument("--calls", type=int, default=10, help="critic calls of an edit")
    parser.add_argument("--edits", type=int, default=2, help="of each worker")
    parser.add_argument("--output", type=Path, default=Path("runs/pinned"))
    options = parser.parse_args(arguments)
    base: Settings = {"device": "cpu", "budget": f"qwen_calls={options.calls}"}
    base |= {"solver": {"name": options.solver}}
    options.output.mkdir(parents=True, exist_ok=True)
    with quiet_libraries(), tempfile.TemporaryDirectory(dir=options.output) as folder:
        alone, beside = Path(folder) / "alone", Path(folder) / "beside"
        for index in range(options.edits):
            make(alone, base | {"seed": FIRST + index}, 1, options.jobs)
        make(beside, base | {"seed": FIRST}, options.edits * options.jobs, options.jobs)
        figures = compared(rows(alone), rows(beside))
    said = {"jobs": options.jobs, "solver": options.solver, "calls": options.calls}
    said |= figures | machine()
    with (options.output / "pinned.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")
    print(
        markdown([*said], [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in said.values()]])
    )
    sys.exit(said["slowdown"] > LIMIT)


if __name__ == "__main__":
    main()
