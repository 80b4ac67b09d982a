"""Where the time of a tuning iteration goes.

    python benchmarks/profile_iteration.py [--iterations 5] [--json] [key=value of sparks solve ...]

Runs Adam on the bundled task (or on what the settings say) and times every call of a network and
every backward pass by the wall clock. What is left is the solver, the driver, the sampler's
arithmetic and bookkeeping.
"""

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch

from sparks.runs.prepare import Prepared, prepare
from sparks.search.driver import solve
from sparks.search.problem import EditProblem
from sparks.settings.layers import assignments, merge

PARTS = (
    "denoiser forward, no graph",
    "denoiser forward, with graph",
    "VAE decode",
    "critic forward",
    "LPIPS forward",
    "backward",
)


@dataclass
class Stopwatch:
    """Seconds by part; a call inside another counts for the outer one."""

    device: torch.device
    seconds: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    started: float = 0.0

    def now(self) -> float:
        """Seconds on the clock once the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def enter(self) -> None:
        """A timed call begins."""
        if self.depth == 0:
            self.started = self.now()
        self.depth += 1

    def leave(self, part: str) -> None:
        """The timed call begun last ends."""
        self.depth -= 1
        if self.depth == 0:
            self.seconds[part] += self.now() - self.started
            self.calls[part] += 1

    def restart(self) -> None:
        """Forget everything, e.g. a warm-up."""
        self.seconds.clear()
        self.calls.clear()


def _denoiser_part() -> str:
    return PARTS[1] if torch.is_grad_enabled() else PARTS[0]


def networks(problem: EditProblem) -> list[tuple[torch.nn.Module, Callable[[], str]]]:
    """Each network an iteration calls, with the part its time belongs to."""
    editor: Any = problem.editor
    critic: Any = problem.critic
    return [
        (editor.transformer, _denoiser_part),
        (editor.vae.decoder, lambda: PARTS[2]),
        (critic.model.model, lambda: PARTS[3]),
        (problem.objective.distance, lambda: PARTS[4]),
    ]


@contextlib.contextmanager
def watching(watch: Stopwatch, problem: EditProblem) -> Iterator[None]:
    """Time every network call and every backward pass inside the block."""
    with contextlib.ExitStack() as stack:
        for network, part in networks(problem):
            hooks = (
                network.register_forward_pre_hook(lambda *_: watch.enter()),
                network.register_forward_hook(lambda *_, part=part: watch.leave(part())),
            )
            for hook in hooks:
                stack.callback(hook.remove)
        original = torch.autograd.backward

        def timed(*arguments: Any, **options: Any) -> None:
            watch.enter()
            try:
                original(*arguments, **options)
            finally:
                watch.leave(PARTS[5])

        stack.enter_context(mock.patch.object(torch.autograd, "backward", timed))
        yield


def measure(prepared: Prepared, iterations: int) -> dict[str, Any]:
    """Profile `iterations` steps of the prepared search after one that warms up.

    Returns:
        `iterations`, `seconds` of one, `share` of the networks, and by part `seconds`, `share`
        and `calls` of one iteration.
    """
    problem = prepared.problem
    watch = Stopwatch(problem.device)
    marks: list[float] = []

    def mark(*_: Any) -> None:
        marks.append(watch.now())
        if len(marks) == 1:
            watch.restart()

    _ = problem.baseline
    with watching(watch, problem):
        solve(problem, prepared.solver, seed=prepared.config.seed, listeners=[mark])
    total = marks[-1] - marks[0]
    rows = {
        part: {
            "seconds": watch.seconds[part] / iterations,
            "share": watch.seconds[part] / total,
            "calls": watch.calls[part] / iterations,
        }
        for part in PARTS
    }
    networks_share = sum(row["share"] for row in rows.values())
    return {
        "iterations": iterations,
        "device": str(problem.device),
        "threads": torch.get_num_threads(),
        "seconds": total / iterations,
        "share": networks_share,
        "parts": rows,
    }


def table(result: dict[str, Any]) -> str:
    """The profile as Markdown."""
    lines = ["| part | calls | ms | share |", "| --- | ---: | ---: | ---: |"]
    for part, row in result["parts"].items():
        lines.append(
            f"| {part} | {row['calls']:g} | {row['seconds'] * 1e3:.1f} | {row['share']:.1%} |"
        )
    seconds, share = result["seconds"], result["share"]
    lines.append(f"| rest | | {seconds * (1 - share) * 1e3:.1f} | {1 - share:.1%} |")
    lines.append(f"| iteration | | {seconds * 1e3:.1f} | 100.0% |")
    return (
        f"{result['iterations']} iterations on {result['device']}, {result['threads']} threads; "
        f"networks {share:.1%}\n\n" + "\n".join(lines)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark; exit code 1 if the networks take less than 90 %."""
    parser = argparse.ArgumentParser(description="Profile a tuning iteration.")
    parser.add_argument("--iterations", type=int, default=5, help="after one that warms up")
    parser.add_argument("--threads", type=int, default=None, help="of torch; its own by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as of sparks solve --set")
    options = parser.parse_args(arguments)
    if options.iterations < 1:
        parser.error("--iterations must be at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    asked = merge({"solver": {"name": "adam"}}, assignments(options.settings))
    limit = {"budget": f"renders={options.iterations + 1}"}
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(prepare(merge(asked, limit)), options.iterations)
    print(json.dumps(result) if options.json else table(result))
    sys.exit(result["share"] < 0.9)


if __name__ == "__main__":
    main()
