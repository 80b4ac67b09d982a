"""Runs that are killed and gone on with, compared with runs that are not.

    python benchmarks/kills.py [--kills 50] [--jobs 4] [--output FOLDER] [--solvers adam,cma]
        [--budget renders=12] [--seed 0] [--json]

Every solver edits the bundled task once undisturbed. Then its runs are started, ended by SIGKILL at
a random moment between their first import and their last file, and gone on with by
`sparks solve --resume`, until they come to their end. Exit code 1 if a row that was on disk was
changed, one was rendered twice, or a finished run differs from the undisturbed one: in its history,
but for the cost, or in a byte of its videos.

The kills are dealt out to chains of at most four, of which `--jobs` go on at once, each on one
core. With `--output` all that was made is kept: the same command goes on after a break, and the
table is there as `kills.md`.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks import registry
from sparks.files import write_text

WHERE = ("loading", "searching", "rendering the result")
LONGEST = 4  # kills of one chain
VIDEOS = ("baseline.mp4", "edited.mp4")


def solvers() -> list[str]:
    """All that are installed, nevergrad by one of its many."""
    return ["nevergrad/TwoPointsDE" if n == "nevergrad" else n for n in registry.solvers.names()]


def start(run: Path, solver: str, budget: str) -> "subprocess.Popen[str]":
    """Begin a run, or go on with one that has begun."""
    begun = (run / "config.yaml").is_file()
    chosen = ("--solver", solver, "--budget", budget, "--output", str(run))
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sparks.cli",
            "solve",
            *(("--resume", str(run)) if begun else chosen),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


class Undisturbed:
    """A run that nobody kills.

    Attributes:
        history: its rows, without their cost.
        seconds: it took, from the first import to the last file.
        per_row: of these, for an evaluation.
    """

    def __init__(self, folder: Path, solver: str, budget: str) -> None:
        self.folder, self.solver, self.budget = folder, solver, budget
        took = folder.with_name("whole.json")
        if not took.is_file():  # nothing, or half a run of before a break
            shutil.rmtree(folder, ignore_errors=True)
            write_text(took, json.dumps(self._edit()))
        self.seconds: float = json.loads(took.read_text(encoding="utf-8"))
        self.history = history(folder)
        spent = json.loads((folder / "result.json").read_text(encoding="utf-8"))["spent"]
        self.per_row = spent["wall_clock"] / len(self.history)

    def _edit(self) -> float:
        began = time.perf_counter()
        process = start(self.folder, self.solver, self.budget)
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.solver} failed undisturbed: {errors}")
        return time.perf_counter() - began


@dataclass
class Chain:
    """Runs of one solver, one after the other, each killed as often as it happens.

    Attributes:
        kills: by where they hit.
        finished: runs that came to their end.
        wrong: what was seen to differ.
        over: all its kills were made and its last run brought to its end.
    """

    folder: Path
    whole: Undisturbed
    kills: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    wrong: list[str] = field(default_factory=list)
    over: bool = False
    _number: int = 0

    def bring(self, kills: int, seed: int) -> "Chain":
        """Kill at moments drawn with `seed` until it was done so often, then go on to the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._recall()
        moments = random.Random(f"{seed} {self.folder.name} {self.kills.total()} {self.finished}")
        while self.kills.total() < kills:
            self._kill(moments.random())
            self._save()
        if not self.over:
            self._end()
            self.over = True
            self._save()
        return self

    def _recall(self) -> None:
        """What was done before a break; the run that was at work then is left as it is."""
        if (state := self.folder / "chain.json").is_file():
            saved = json.loads(state.read_text(encoding="utf-8"))
            self.kills, self.wrong = Counter(saved["kills"]), saved["wrong"]
            self.finished, self.over = saved["finished"], saved["over"]
        self._number = sum(path.is_dir() for path in self.folder.iterdir())

    def _save(self) -> None:
        saved = ("kills", "finished", "wrong", "over")
        state = {name: getattr(self, name) for name in saved}
        write_text(self.folder / "chain.json", json.dumps(state))
        print(f"{self.folder.name} {dict(self.kills)}", file=sys.stderr, flush=True)

    @property
    def run(self) -> Path:
        """The run that is at present killed and gone on with."""
        return self.folder / f"run-{self._number}"

    def _kill(self, moment: float) -> None:
        """Go on with the run and kill it after this share of the time it would need."""
        before = rows(self.run)
        process = start(self.run, self.whole.solver, self.whole.budget)
        time.sleep(moment * (self.whole.seconds - self.whole.per_row * before.count(b"\n")))
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:  # it was faster
            self._check(before, errors)
            return
        if process.returncode > 0:
            self.wrong.append(f"exit code {process.returncode}: {errors[-300:]}")
        after = rows(self.run)
        self._compare(after.startswith(before), "rows were changed")
        done = after.count(b"\n") == len(self.whole.history)
        self.kills[WHERE[2] if done else WHERE[int(after != before)]] += 1

    def _end(self) -> None:
        """Go on to the end, if there is a run."""
        if self.run.exists():
            before = rows(self.run)
            process = start(self.run, self.whole.solver, self.whole.budget)
            _, errors = process.communicate()
            self._compare(process.returncode == 0, f"failed: {errors[-300:]}")
            self._check(before, errors)

    def _check(self, before: bytes, errors: str) -> None:
        """A run came to its end."""
        total = len(self.whole.history)
        self._compare(rows(self.run).startswith(before), "rows were changed")
        self._compare(history(self.run) == self.whole.history, "the history differs")
        rendered = errors.count(f"/{total}  total ")
        self._compare(rendered == total - before.count(b"\n"), f"{rendered} were rendered")
        for name in VIDEOS:
            one, other = (path / name for path in (self.run, self.whole.folder))
            same = one.is_file() and one.read_bytes() == other.read_bytes()
            self._compare(same, f"{name} differs")
        self.finished += 1
        self._number += 1

    def _compare(self, right: bool, otherwise: str) -> None:
        if not right:
            self.wrong.append(f"{self.run}: {otherwise}")


def rows(run: Path) -> bytes:
    """The history as it is on disk, without a row that is torn."""
    path = run / "history.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def history(run: Path) -> list[dict[str, Any]]:
    """The rows without their cost."""
    return [json.loads(line) | {"cost": None} for line in rows(run).splitlines()]


def dealt(total: int, parts: int) -> list[int]:
    """`total` as a sum of so many numbers, as equal as can be."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def measure(
    folder: Path, names: Sequence[str], budget: str, kills: int, seed: int, jobs: int
) -> list[dict[str, Any]]:
    """Kill so often in all; what came of it, by solver."""
    shares = {
        name: share for name, share in zip(names, dealt(kills, len(names)), strict=True) if share
    }
    homes = {name: folder / name.replace("/", "-") for name in shares}
    with ThreadPoolExecutor(jobs) as pool:  # of processes that are waited for
        whole = pool.map(lambda name: Undisturbed(homes[name] / "whole", name, budget), shares)
        undisturbed = dict(zip(shares, whole, strict=True))
        chains = {
            name: [
                pool.submit(Chain(homes[name] / f"{homes[name].name}-{n}", whole).bring, part, seed)
                for n, part in enumerate(dealt(shares[name], -(-shares[name] // LONGEST)))
            ]
            for name, whole in undisturbed.items()
        }
        return [total(name, [each.result() for each in chains[name]]) for name in shares]


def total(solver: str, chains: Sequence[Chain]) -> dict[str, Any]:
    """What came of a solver's chains."""
    where = sum((chain.kills for chain in chains), Counter[str]())
    return {
        "solver": solver,
        "kills": where.total(),
        "where": dict(where),
        "finished": sum(chain.finished for chain in chains),
        "wrong": [problem for chain in chains for problem in chain.wrong],
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """The result as Markdown."""
    lines = [
        f"| solver | kills | {' | '.join(WHERE)} | runs brought to their end | differing |",
        f"| --- |{' ---: |' * (len(WHERE) + 3)}",
    ]
    figures = [
        [
            *(row["kills"], *(row["where"].get(name, 0) for name in WHERE)),
            *(row["finished"], len(row["wrong"])),
        ]
        for row in results
    ]
    names = [row["solver"] for row in results] + ["all"]
    figures.append([sum(column) for column in zip(*figures, strict=True)])
    for name, numbers in zip(names, figures, strict=True):
        lines.append(f"| {name} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Kill runs and go on with them.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1, help="chains at once, each on one core")
    parser.add_argument("--output", type=Path, help="keep what is made, to go on with")
    parser.add_argument("--solvers", default=",".join(solvers()))
    parser.add_argument("--budget", default="renders=12", help="renders=N")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    given = parser.parse_args(arguments)
    names = given.solvers.split(",")
    with tempfile.TemporaryDirectory() as folder:
        place = (given.output or Path(folder)).absolute()
        results = measure(place, names, given.budget, given.kills, given.seed, given.jobs)
        write_text(place / "kills.md", table(results) + "\n")
    print(json.dumps(results) if given.json else table(results))
    for row in results:
        for problem in row["wrong"]:
            print(f"{row['solver']}: {problem}", file=sys.stderr)
    sys.exit(any(row["wrong"] for row in results))


if __name__ == "__main__":
    main()
