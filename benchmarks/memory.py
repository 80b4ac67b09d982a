"""Whether a long run needs more memory than a short one.

    python benchmarks/memory.py [--evaluations 500] [--solver adam] [--json] [key=value ...]

One search of the bundled task, recorded as `sparks solve` records it, and what the process (or the
GPU) holds after every evaluation. Exit code 1 if the second half of the run holds more than the
first by over 1 %, by medians; the first tenth is left out.
"""

import argparse
import contextlib
import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparks.runs.prepare import prepare
from sparks.search.driver import solve
from sparks.search.journal import Journal
from sparks.settings.layers import assignments, merge

ALLOWED = 0.01


def held(device: torch.device) -> int:
    """Bytes held now: by tensors on a GPU, or resident of this process."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


def measure(settings: dict[str, Any], evaluations: int) -> dict[str, Any]:
    """Search for so many evaluations.

    Returns:
        `bytes` after each, their medians `early` and `late`, and `growth` as a share.
    """
    prepared = prepare(merge(settings, {"budget": f"renders={evaluations}"}))
    found: list[int] = []

    def note(*_: Any) -> None:
        found.append(held(prepared.problem.device))

    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Journal(Path(folder))) as log:
        seed = prepared.config.seed
        solve(prepared.problem, prepared.solver, seed=seed, listeners=[note], journal=log)
    settled = found[len(found) // 10 :]
    halves = (settled[: len(settled) // 2], settled[len(settled) // 2 :])
    early, late = (statistics.median(half) for half in halves)
    return {
        "solver": prepared.config.solver.name,
        "device": str(prepared.problem.device),
        "evaluations": len(found),
        "early": early,
        "late": late,
        "growth": late / early - 1,
        "bytes": found,
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, about ten rows of it."""
    count = result["evaluations"]
    chosen = range(max(1, count // 10), count + 1, max(1, count // 10))
    lines = ["| evaluation | MiB |", "| ---: | ---: |"]
    lines += [f"| {number} | {result['bytes'][number - 1] / 2**20:.1f} |" for number in chosen]
    return (
        f"{result['solver']}, {count} evaluations on {result['device']}; "
        f"second half {result['growth']:+.2%}\n\n" + "\n".join(lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure the memory of a long run.")
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--solver", default="adam")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as of sparks solve --set")
    options = parser.parse_args(arguments)
    if options.evaluations < 10:
        parser.error("--evaluations must be at least 10")
    patience = {"patience": None} if options.solver in ("adam", "hybrid", "ngd") else {}
    given = {"solver": {"name": options.solver, **patience}}
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(merge(given, assignments(options.settings)), options.evaluations)
    print(json.dumps(result) if options.json else table(result))
    sys.exit(result["growth"] > ALLOWED)


if __name__ == "__main__":
    main()
