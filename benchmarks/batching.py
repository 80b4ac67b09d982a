"""What rendering candidates together saves.

    python benchmarks/batching.py [--batch 16] [--repeats 3] [--json] [KEY=VALUE ...]

Scores random candidates of the bundled task (or of what the settings say) without gradients, in one
batch and one at a time, in turns, and compares the seconds per candidate.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparks.runs.prepare import prepare
from sparks.search.budget import Budget
from sparks.search.problem import EditProblem
from sparks.settings.layers import assignments, merge

LIMIT = 0.5  # a batch shall cost at most half of its candidates one at a time


def seconds(problem: EditProblem, candidates: Tensor, together: int) -> float:
    """Per candidate of `candidates [B, k]`, so many at a time."""
    began = time.perf_counter()
    for part in candidates.split(together):
        problem.evaluate(part)  # ends synchronised with the device
    return (time.perf_counter() - began) / len(candidates)


def measure(problem: EditProblem, batch: int, repeats: int) -> dict[str, Any]:
    """Time both ways `repeats` times after a warm-up.

    Returns:
        `batch`, `device`, `threads`, `together` and `apart` (seconds per candidate, the best turn,
        which other work on the machine disturbed least) and their `ratio`.
    """
    generator = torch.Generator().manual_seed(0)
    candidates = 0.3 * torch.randn(batch, problem.dim, generator=generator)
    for together in (batch, 1):
        seconds(problem, candidates[: max(together, 2)], together)
    turns = [
        (seconds(problem, candidates, batch), seconds(problem, candidates, 1))
        for _ in range(repeats)
    ]
    together, apart = (min(way) for way in zip(*turns, strict=True))
    return {
        "batch": batch,
        "device": str(problem.device),
        "threads": torch.get_num_threads(),
        "together": together,
        "apart": apart,
        "ratio": together / apart,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; exit code 1 if a batch costs more than half."""
    parser = argparse.ArgumentParser(description="Compare batches with single candidates.")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="after one that warms up")
    parser.add_argument("--threads", type=int, default=None, help="of torch; its own by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as of sparks solve --set")
    options = parser.parse_args(arguments)
    if options.batch < 2 or options.repeats < 1:
        parser.error("--batch must be at least 2 and --repeats at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    given = merge({"space": {"name": "temporal"}}, assignments(options.settings))
    with contextlib.redirect_stdout(sys.stderr):
        problem = prepare(given).problem
        problem.meter.budget = Budget()  # nothing ends a measurement
        result = measure(problem, options.batch, options.repeats)
    print(json.dumps(result) if options.json else _sentence(result))
    sys.exit(result["ratio"] > LIMIT)


def _sentence(result: dict[str, Any]) -> str:
    return (
        f"{result['batch']} together: {result['together'] * 1e3:.0f} ms per candidate; one at a "
        f"time: {result['apart'] * 1e3:.0f} ms; ratio {result['ratio']:.2f} "
        f"({result['device']}, {result['threads']} threads)"
    )


if __name__ == "__main__":
    main()
