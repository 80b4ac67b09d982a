"""Workers that are killed, pre-empted and counted: what becomes of their edits, and what they cost.

    python benchmarks/workers.py kills [--rounds 10] [--write docs/reliability.md]
    python benchmarks/workers.py ray submitit [--write docs/reliability.md]
    python benchmarks/workers.py growth overhead [--write docs/scaling.md]
    python benchmarks/workers.py devices [--write docs/scaling.md]

`kills`: two `sparks work` on one folder, one of them ended by SIGKILL at a random moment. `ray`: a
local cluster with two actors on CPUs, one of them killed. `submitit`: a job of the local executor,
pre-empted by its signal. All make the same edits of the bundled model; the rows are compared with
those of one worker alone, all but their cost. `growth`: processor seconds to plan and to read
experiments of 100, 1,000 and 10,000 cells. `overhead`: seconds of a cell beside its search.
`devices`: a bench on one and on all GPUs of this machine, or on one and two halves of its cores.

With `--write`, the tables take their places in the page. Exit code 1 if a row differs, is lost or
was written twice.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sparks.claims import workers
from sparks.experiments.ablate import plan_ablation, settings_of
from sparks.experiments.bench import run_experiment
from sparks.experiments.cells import Cell, Plan, finished, load_plan
from sparks.experiments.executors.processes import Processes
from sparks.experiments.progress import Progress
from sparks.experiments.results import write_results
from sparks.experiments.tasks import task_list
from sparks.files import write_text

COST = {"wall_clock", "elapsed", "device", "where"}  # columns that no two runs have alike
Table = list[list[Any]]


def edits(budget: str = "qwen_calls=3", tasks: int = 1) -> Plan:
    """Edits of the bundled model: four for each task, two of them matched to the others."""
    solvers = settings_of("solvers", ["adam", "random"])
    base = {"budget": budget, "seed": 42}
    asked = task_list("dev10")[:tasks]
    return plan_ablation("workers", base, solvers, asked, seeds=2, match={"qwen_calls": 2})


def rows(folder: Path) -> list[dict[str, Any]]:
    """What is finished, but for its cost."""
    plan = load_plan(folder)
    return [{k: v for k, v in row.items() if k not in COST} for row in finished(folder, plan)]


def folder_of(name: str, place: Path) -> Path:
    """A new experiment that is planned."""
    folder = place / name
    folder.mkdir()
    edits().save(folder)
    return folder


def start(folder: Path) -> "subprocess.Popen[str]":
    """A worker."""
    return subprocess.Popen(
        [sys.executable, "-m", "sparks.cli", "work", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Witness(threading.Thread):
    """Sees every row as it comes, and whether one that was there is ever another.

    Attributes:
        wrong: what was seen to be wrong.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.wrong, self._stop_it = folder, list[str](), threading.Event()
        self._seen: dict[Path, tuple[int, int]] = {}

    def run(self) -> None:
        while not self._stop_it.wait(0.02):
            self._look()

    def _look(self) -> None:
        for path in self.folder.glob("cells/*/*/row.json"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                stamp = stat.st_ino, stat.st_mtime_ns
                if self._seen.setdefault(path, stamp) != stamp:
                    self.wrong.append(f"{path} was written twice")

    def ended(self, expected: list[dict[str, Any]]) -> list[str]:
        """What is wrong with the finished experiment."""
        self._stop_it.set()
        self.join()
        self._look()
        found = rows(self.folder)
        if found != expected:
            same = sum(row in expected for row in found)
            self.wrong.append(f"{len(found)} rows, {same} of {len(expected)} as they should be")
        left = [*self.folder.glob("claims/*"), *self.folder.glob("workers/*.json")]
        return self.wrong + [f"{path.name} is left" for path in left]


def serial(place: Path) -> tuple[list[dict[str, Any]], float]:
    """The rows of one worker alone, and the seconds it took."""
    folder, began = folder_of("serial", place), time.perf_counter()
    _, errors = (process := start(folder)).communicate()
    if process.returncode:
        raise SystemExit(f"undisturbed, a worker failed: {errors}")
    return rows(folder), time.perf_counter() - began


def kills(place: Path, rounds: int, seed: int) -> Iterator[Table]:
    """Two workers, one killed at a moment between its start and the end of half of the work."""
    moments, (expected, seconds) = random.Random(seed), serial(place)
    header = ["round", "killed after, s", "while", "rows", "differing, lost or twice"]
    lines: Table = [header]
    for number in range(1, rounds + 1):
        witness = Witness(folder_of(f"kills-{number}", place))
        witness.start()
        both = [start(witness.folder) for _ in range(2)]
        after = moments.uniform(0.0, 0.6 * seconds)
        time.sleep(after)
        what = at(witness.folder, both[0].pid)
        both[0].kill()
        errors = [process.communicate()[1] for process in both]
        wrong = witness.ended(expected)
        if both[1].returncode:
            wrong.append(f"the other one failed: {errors[1][-300:]}")
        lines.append([number, f"{after:.1f}", what, len(rows(witness.folder)), report(wrong)])
        print(*lines[-1], file=sys.stderr, flush=True)
    yield lines


def at(folder: Path, pid: int) -> str:
    """What a worker was doing."""
    for said in workers(folder).values():
        if said.get("pid") == pid:
            if "run" not in said:
                return "between edits"
            home = folder / said["run"]
            done = (home / "history.jsonl").exists()
            return "searching or after" if done else "loading or encoding"
    return "starting"


def report(wrong: Sequence[str]) -> str:
    """How many things were wrong; they are told on standard error."""
    for each in wrong:
        print(f"wrong: {each}", file=sys.stderr, flush=True)
        FAILED.append(each)
    return str(len(wrong))


FAILED: list[str] = []


def driven(
    place: Path, name: str, executor: Any, how: signal.Signals, rounds: int
) -> Iterator[Table]:
    """An executor of which one worker is ended while it searches, for each round."""
    expected, _ = serial(place)
    lines: Table = [["executor", "round", "signal", "at", "rows", "differing, lost or twice"]]
    for number in range(1, rounds + 1):
        witness = Witness(place / f"{name}-{number}")
        witness.start()
        hit: list[str] = []
        thread = threading.Thread(target=end_one, args=(witness.folder, how, number, hit))
        thread.start()
        run_experiment(witness.folder, edits(), executor=executor)
        thread.join()
        wrong = witness.ended(expected) + ([] if hit else ["no worker was ended"])
        count = len(rows(witness.folder))
        lines.append([name, number, how.name, " ".join(hit), count, report(wrong)])
        print(*lines[-1], file=sys.stderr, flush=True)
    yield lines


def end_one(folder: Path, how: signal.Signals, nth: int, hit: list[str]) -> None:
    """Send a signal to a worker that is searching, at the n-th edit that is seen to be begun."""
    seen: set[str] = set()
    end = time.monotonic() + 300
    while time.monotonic() < end:
        time.sleep(0.02)
        for said in workers(folder).values() if folder.is_dir() else ():
            if "run" in said and (folder / said["run"] / "history.jsonl").exists():
                seen.add(said["run"])
                if len(seen) >= nth:
                    os.kill(said["pid"], how)
                    hit.append(said["piece"])
                    return


def ray(place: Path, rounds: int, seed: int) -> Iterator[Table]:
    """Two actors on CPUs."""
    from sparks.experiments.executors.cluster import Ray

    yield from driven(place, "ray", Ray(2, num_gpus=0), signal.SIGKILL, rounds)


def submitit(place: Path, rounds: int, seed: int) -> Iterator[Table]:
    """Two local jobs."""
    from sparks.experiments.executors.batch import Submitit

    executor = Submitit(2, cluster="local", timeout_min=60, gpus_per_node=0)
    yield from driven(place, "submitit", executor, signal.SIGUSR2, rounds)


def growth(place: Path, rounds: int, seed: int) -> Iterator[Table]:
    """Experiments of which everything is finished but nothing was edited."""
    header = ["cells", "planned, s", "read, s", "first edit taken after, s"]
    lines: Table = [[*header, "seen by `sparks watch`, s", "tables and page, s"]]
    for count in (100, 1_000, 10_000):
        folder = place / f"growth-{count}"
        folder.mkdir()
        plan, planned = timed(lambda n=count: large(n))
        _, saved = timed(lambda p=plan, f=folder: p.save(f))
        _, read = timed(lambda f=folder: load_plan(f))
        _, taken = timed(lambda f=folder: take_first(f))
        for number, cell in enumerate(plan.cells):
            finish(folder, cell, number)
        _, seen = timed(lambda f=folder: Progress(f))
        _, written = timed(lambda f=folder: write_results(f))
        seconds = (planned + saved, read, taken, seen, written)
        lines.append([f"{count:,}", *(f"{each:.2f}" for each in seconds)])
        print(*lines[-1], file=sys.stderr, flush=True)
    yield lines


def timed(do: Callable[[], Any]) -> tuple[Any, float]:
    """What something gives, and the processor's seconds it takes."""
    began = time.process_time()
    return do(), time.process_time() - began


def large(count: int) -> Plan:
    """An experiment of 25 tasks, 4 solvers and as many seeds as are needed."""
    solvers = settings_of("solvers", ["adam", "ppo", "cma", "random"])
    match: Any = {"qwen_calls": count // 100}
    tasks = task_list("pocket25")
    return plan_ablation("large", {"seed": 0}, solvers, tasks, seeds=count // 100, match=match)


def take_first(folder: Path) -> None:
    """Until a worker has claimed its first cell."""
    from sparks.claims import Claims, Worker
    from sparks.experiments.work import CellWork, _Cells

    with Worker(folder) as worker:
        cells = CellWork(folder, Path.cwd()).taker(Claims(folder, worker))
        assert isinstance(cells, _Cells)
        cells._read()
        _, cell = next(cells._order())
        claim = Claims(folder, worker).take(cell.piece)
        assert claim is not None
        claim.end()


def finish(folder: Path, cell: Cell, number: int) -> None:
    """A cell as if it had been run: the row and history of a search of 30 evaluations."""
    home = folder / cell.name
    home.mkdir(parents=True)
    rng = random.Random(number)
    row: dict[str, Any] = {"setting": cell.setting, "match": cell.match, "task": cell.task}
    row |= {"seed": cell.settings["seed"], "prompt": "it", "folder": cell.name, "solver": "adam"}
    row |= {"space": "full", "dim": 1, "stopped_by": "qwen_calls", "elapsed": 1.0}
    for name in ("p_yes_baseline", "p_yes_best", "p_yes_edited", "total", "strength_edited"):
        row[name] = rng.random()
    row |= {"happened_edited": rng.random() < 0.5, "qwen_calls": 30, "wall_clock": 9 + rng.random()}
    (home / "row.json").write_text(json.dumps(row))
    history = []
    for index in range(30):
        cost = {"qwen_calls": index + 1, "wall_clock": (index + rng.random()) / 3}
        history.append({"best": index % 3 == 0, "total": 1 / (index + 1), "p_yes": 0.5})
        history[-1]["cost"] = cost
    (home / "history.jsonl").write_text("\n".join(map(json.dumps, history)) + "\n")


def overhead(place: Path, rounds: int, seed: int) -> Iterator[Table]:
    """Seconds of cells, their searches, and what is between cells, of one worker."""
    folder, began = place / "overhead", time.perf_counter()
    run_experiment(folder, edits("qwen_calls=8", tasks=2), executor=Processes(1))
    whole = time.perf_counter() - began
    cells = finished(folder, load_plan(folder))
    search, took = (sum(row[name] for row in cells) for name in ("wall_clock", "elapsed"))
    count = len(cells)
    yield [
        ["of one cell, mean of " + str(count), "s"],
        ["search", f"{search / count:.2f}"],
        ["encoding, baseline, final render, videos, measurement", f"{(took - search) / count:.2f}"],
        [
            "claim, publication, worker's start and tables, shared by all",
            f"{(whole - took) / count:.2f}",
        ],
    ]


def devices(place: Path, rounds: int, seed: int) -> Iterator[Table]:
    """The same bench by one worker and by one for each GPU, or by two where there is none."""
    every = Processes().jobs
    every = every if every > 1 else 2
    lines: Table = [["workers", "device of each", "cells", "s", "times as fast", "rows as one's"]]
    first: tuple[float, list[dict[str, Any]]] | None = None
    for jobs in (1, every):
        folder = place / f"devices-{jobs}"
        executor = Processes(jobs)
        plan = plan_ablation(
            "devices", {"seed": 42}, {"adam": {"solver": {"name": "adam"}}}, task_list("dev40")[:8]
        )
        began = time.perf_counter()
        run_experiment(folder, plan, executor=executor)
        seconds = time.perf_counter() - began
        mine = rows(folder)
        first = first or (seconds, mine)
        names = {row["device"] for row in finished(folder, load_plan(folder))}
        same = sum(near(one, other) for one, other in zip(mine, first[1], strict=True))
        ratio = f"{first[0] / seconds:.2f}"
        lines.append([jobs, ", ".join(names), len(mine), f"{seconds:.1f}", ratio, same])
        print(*lines[-1], file=sys.stderr, flush=True)
    yield lines


def near(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows are equal but for rounding, which a search may carry along."""
    for name, value in one.items():
        if isinstance(value, float) and abs(value - other[name]) > 1e-2 * max(1.0, abs(value)):
            return False
        if not isinstance(value, float) and value != other[name]:
            return False
    return True


PARTS = {f.__name__: f for f in (kills, ray, submitit, growth, overhead, devices)}


def markdown(lines: Table) -> str:
    """A table, its first line the header."""
    cells = [[str(cell) for cell in line] for line in lines]
    ruled = [cells[0], ["---"] + ["---:"] * (len(cells[0]) - 1), *cells[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def write(page: Path, name: str, table: str) -> None:
    """Put a table between its marks in a page."""
    text = page.read_text(encoding="utf-8")
    marks = f"<!-- workers.py {name} -->\n", f"<!-- end of {name} -->\n"
    pattern = re.escape(marks[0]) + ".*?" + re.escape(marks[1])
    if not re.search(pattern, text, re.DOTALL):
        raise SystemExit(f"{page} has no place for {name}: {marks[0].strip()}")
    body = f"{marks[0]}\n{table}\n{marks[1]}"
    write_text(page, re.sub(pattern, lambda _: body, text, flags=re.DOTALL))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Kill, pre-empt and count workers.")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=None, help="10 of kills, 2 of others")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--write", type=Path, help="page that has places for the tables")
    options = parser.parse_args(arguments)
    for name in options.parts:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            rounds = options.rounds or (10 if name == "kills" else 2)
            tables = list(PARTS[name](Path(folder), rounds, options.seed))
        for lines in tables:
            print(markdown(lines), flush=True)
            if options.write:
                write(options.write, name, markdown(lines))
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
