"""Searches of the toy problem in processes that tests can kill, interrupt and start again."""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks import registry
from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.search.driver import Outcome, solve
from sparks.search.evaluation import Evaluation
from sparks.search.journal import Journal
from sparks.search.objective import Weights
from sparks.search.problem import EditProblem
from sparks.search.protocols import Solver
from tests.toy import ToyEditor, problem

LIGHT = Weights(lpips=0, temporal=0)
HEAVY = (
    "torch._dynamo",
    "sparks.solvers.gaussian",
    "sparks.solvers.vecenv",
    "nevergrad",
)  # to import
Prepare = Callable[[], None] | None


class Slow(ToyEditor):
    """Sleeps through every render, candidate by candidate."""

    seconds = 0.0

    def render(self, conditioning: Any, controls: Controls, **options: Any) -> Tensor:
        time.sleep(self.seconds * controls.batch)
        return super().render(conditioning, controls, **options)


class Batches:
    """A black box with a memory: each batch is drawn around the best of the one before."""

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        center = torch.zeros(problem.dim)
        problem.evaluate(center)
        while True:
            size = min(4, problem.affordable() or 4)
            draws = torch.from_numpy(rng.standard_normal((size, problem.dim))).float()
            scored = problem.evaluate(center + draws / 10)
            center = min(scored, key=_total).z


class Stateless:
    """Wants gradients but has no state to save."""

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        z = torch.zeros(problem.dim)
        while True:
            (evaluation,) = problem.evaluate(z, gradient=True)
            assert evaluation.gradient is not None
            z = z - 0.3 * evaluation.gradient


def _total(evaluation: Evaluation) -> float:
    return evaluation.total


REGISTERED = [
    "nevergrad/TwoPointsDE" if name == "nevergrad" else name
    for name in registry.solvers.names()
    if name != "bo"  # an extra, with tests of its own where BoTorch is installed
]
OWN: dict[str, type] = {"batches": Batches, "stateless": Stateless}


def make(name: str) -> Solver:
    """A solver by name, ours here or a registered one."""
    solver: Solver = OWN[name]() if name in OWN else registry.solvers.get(name)()
    return solver


def search(folder: Path, solver: Solver, budget: str = "renders=12", editor: Any = None) -> Outcome:
    """Run, or go on with, the search in `folder`."""
    journal = Journal(folder)
    try:
        task = problem(budget, editor=editor, weights=LIGHT)
        return solve(task, solver, seed=4, journal=journal)
    finally:
        journal.close()


def history(folder: Path) -> list[dict[str, Any]]:
    """The rows without their cost."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line) | {"cost": None} for line in lines]


def start(
    folder: Path, name: str, budget: str, seconds: float = 0, prepare: Prepare = None
) -> BaseProcess:
    """The search in a process of its own, each render of which takes `seconds`.

    A server that has imported everything forks it: it is there at once, and no thread is.
    `prepare` is called in it first.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.searches", *HEAVY])
    process = context.Process(target=_run, args=(folder, name, budget, seconds, prepare))
    process.start()
    return process


def wait_for_rows(folder: Path, count: int) -> None:
    """Return once the history has `count` rows."""
    deadline = time.monotonic() + 120
    while rows(folder).count(b"\n") < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows(folder: Path) -> bytes:
    """The history as it is on disk."""
    path = folder / "history.jsonl"
    return path.read_bytes() if path.exists() else b""


def result(folder: Path) -> dict[str, Any]:
    """What the process that finished the search found, and rendered itself."""
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def _run(folder: Path, name: str, budget: str, seconds: float, prepare: Prepare) -> None:
    torch.set_num_threads(1)
    editor = Slow()
    editor.seconds = seconds
    if prepare is not None:
        prepare()
    try:
        outcome = search(folder, make(name), budget, editor)
    except SparksError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2)
    found = {"stopped_by": outcome.stopped_by, "best": outcome.best.index}
    found |= {"z": outcome.best.z_sha256, "renders": sum(editor.renders)}
    (folder / "found.json").write_text(json.dumps(found))
