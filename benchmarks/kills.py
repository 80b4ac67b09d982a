"""Runs that are killed and gone on with, compared with runs that are not.

    python benchmarks/kills.py [--kills 50] [--solvers adam,cma] [--budget renders=12] [--json]

Every solver edits the bundled task once undisturbed. Then its runs are started, ended by SIGKILL at
a random moment between their first import and their last file, and gone on with by
`sparks solve --resume`, until they come to their end. Exit code 1 if a row that was on disk was
changed, one was rendered twice, or a finished history differs from the undisturbed one in more than
its cost.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks import registry

WHERE = ("loading", "searching", "rendering the result")


def solvers() -> list[str]:
    """All that are installed, nevergrad by one of its many."""
    return ["nevergrad/TwoPointsDE" if n == "nevergrad" else n for n in registry.solvers.names()]


@dataclass
class Chain:
    """Runs of one solver, one after the other, each killed as often as it happens.

    Attributes:
        kills: by where they hit; `unhurt` counts processes that were faster.
        wrong: what was found to differ.
    """

    solver: str
    budget: str
    folder: Path
    kills: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    wrong: list[str] = field(default_factory=list)
    _number: int = 0

    def prepare(self) -> None:
        """The undisturbed run, and how long it takes."""
        began = time.perf_counter()
        process = self._start(self.folder / "whole")
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.solver} failed undisturbed: {errors}")
        self.seconds = time.perf_counter() - began
        self.expected = history(self.folder / "whole")
        spent = json.loads((self.folder / "whole" / "result.json").read_text())["spent"]
        self.per_row = spent["wall_clock"] / len(self.expected)

    @property
    def run(self) -> Path:
        """The run that is at present killed and gone on with."""
        return self.folder / f"run-{self._number}"

    def kill(self, moment: float) -> None:
        """Go on with the run and kill it after this share of the time it would need."""
        before = rows(self.run)
        process = self._start(self.run)
        time.sleep(moment * (self.seconds - self.per_row * before.count(b"\n")))
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            self._check(before, errors)
            return
        if process.returncode > 0:
            self.wrong.append(f"exit code {process.returncode}: {errors[-300:]}")
        after = rows(self.run)
        self._compare(after.startswith(before), "rows were changed")
        count = after.count(b"\n")
        done = count == len(self.expected)
        self.kills[WHERE[2] if done else WHERE[int(after != before)]] += 1

    def end(self) -> None:
        """Go on to the end, if the run has begun."""
        if self.run.exists():
            before = rows(self.run)
            process = self._start(self.run)
            _, errors = process.communicate()
            self._compare(process.returncode == 0, f"failed: {errors[-300:]}")
            self._check(before, errors)

    def _start(self, run: Path) -> "subprocess.Popen[str]":
        begun = (run / "config.yaml").is_file()
        if run.exists() and not begun:  # killed before there was anything to go on with
            self._number += 1
            run = self.run
        chosen = ("--solver", self.solver, "--budget", self.budget, "--output", str(run))
        arguments = ("--resume", str(run)) if begun else chosen
        return subprocess.Popen(
            [sys.executable, "-m", "sparks.cli", "solve", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def _check(self, before: bytes, errors: str) -> None:
        """A run came to its end."""
        total = len(self.expected)
        self._compare(rows(self.run).startswith(before), "rows were changed")
        self._compare(history(self.run) == self.expected, "the history differs")
        rendered = errors.count(f"/{total}  total ")
        self._compare(rendered == total - before.count(b"\n"), f"{rendered} were rendered")
        self.finished += 1
        self._number += 1

    def _compare(self, right: bool, otherwise: str) -> None:
        if not right:
            self.wrong.append(f"{self.run.name}: {otherwise}")


def rows(run: Path) -> bytes:
    """The history as it is on disk, without a row that is torn."""
    path = run / "history.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def history(run: Path) -> list[dict[str, Any]]:
    """The rows without their cost."""
    return [json.loads(line) | {"cost": None} for line in rows(run).splitlines()]


def measure(chains: Sequence[Chain], kills: int, seed: int) -> None:
    """Kill the chains in turn, at moments drawn with `seed`, and bring all to their end."""
    moments = random.Random(seed)
    for chain in chains:
        chain.prepare()
    for chain in itertools.cycle(chains):
        done = sum(sum(each.kills.values()) for each in chains)
        if done >= kills:
            break
        chain.kill(moments.random())
        print(f"{done + 1}: {chain.solver} {dict(chain.kills)}", file=sys.stderr, flush=True)
    for chain in chains:
        chain.end()


def table(results: Sequence[dict[str, Any]]) -> str:
    """The result as Markdown."""
    lines = [
        f"| solver | kills | {' | '.join(WHERE)} | runs brought to their end | differing |",
        f"| --- |{' ---: |' * (len(WHERE) + 3)}",
    ]
    for row in results:
        where = " | ".join(str(row["where"].get(name, 0)) for name in WHERE)
        kills, finished, wrong = row["kills"], row["finished"], len(row["wrong"])
        lines.append(f"| {row['solver']} | {kills} | {where} | {finished} | {wrong} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Kill runs and go on with them.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--solvers", default=",".join(solvers()))
    parser.add_argument("--budget", default="renders=12", help="renders=N")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        names = options.solvers.split(",")
        chains = [Chain(n, options.budget, Path(folder) / n.replace("/", "-")) for n in names]
        measure(chains[: options.kills], options.kills, options.seed)
    results = [
        {
            "solver": chain.solver,
            "kills": sum(chain.kills.values()),
            "where": dict(chain.kills),
            "finished": chain.finished,
            "wrong": chain.wrong,
        }
        for chain in chains[: options.kills]
    ]
    print(json.dumps(results) if options.json else table(results))
    for row in results:
        for problem in row["wrong"]:
            print(f"{row['solver']}: {problem}", file=sys.stderr)
    sys.exit(any(row["wrong"] for row in results))


if __name__ == "__main__":
    main()
