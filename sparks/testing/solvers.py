"""The check of a solver."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparks.search.evaluation import Evaluation
    from sparks.search.problem import EditProblem
    from sparks.search.protocols import Solver

Seen = list[tuple[str, "Evaluation"]]  # the fingerprint of z when it was scored


def check_solver(
    make: Callable[[], Solver], problem: Callable[[], EditProblem], *, seed: int = 0
) -> None:
    """Check that a solver keeps the promises of `sparks.Solver`, by searching a few times.

    Args:
        make: gives a new solver with the same settings each time.
        problem: gives a new problem of the same task each time, its budget a limit on calls or
            renders: three evaluations or more.
        seed: of the solver's random numbers.

    Raises:
        AssertionError: it does not begin at z = 0, overwrites what it has had evaluated, asks for
            more than is affordable, goes on after the budget, draws random numbers from elsewhere
            than `rng`, or does not go on after a kill as if nothing had been.
    """
    task = problem()
    assert task.affordable() is not None, "the problem needs a budget on qwen_calls or renders"
    first = _run(make(), task, seed, 1)
    assert first, "the solver evaluated nothing"
    assert not first[0][1].z.any(), "the first evaluation is not z = 0"
    assert first[0][1].seed == task.conditioning.seed, "the first evaluation has other noise"
    for index, (fingerprint, evaluation) in enumerate(first):
        assert fingerprint == evaluation.z_sha256, (
            f"z of evaluation {index} was overwritten after it had been scored; give a copy"
        )
    again = _run(make(), problem(), seed, 2)
    assert _fingerprints(first) == _fingerprints(again), (
        "the same rng led to another search; draw every random number from rng"
    )
    _check_going_on(make, problem, seed)


class _Kill(BaseException):
    """Nothing in the program catches it."""


def _run(solver: Solver, problem: EditProblem, seed: int, elsewhere: int) -> Seen:
    """Search without the driver; `elsewhere` seeds the random numbers that must not matter."""
    import numpy as np
    import torch

    from sparks.search.budget import BudgetExhausted

    seen = _record(problem)
    evaluate = problem.evaluate
    left: list[int | None] = []  # affordable at each refusal

    def watched(*arguments: Any, **options: Any) -> list[Evaluation]:
        if left:
            raise _Kill
        try:
            return evaluate(*arguments, **options)
        except BudgetExhausted:
            left.append(problem.affordable())
            raise

    problem.evaluate = watched  # type: ignore[method-assign]
    deaf = False
    with torch.random.fork_rng(), contextlib.suppress(BudgetExhausted):
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)  # noqa: NPY002
        random.seed(elsewhere)
        try:
            solver.run(problem, np.random.default_rng(seed))
        except _Kill:
            deaf = True
    assert not deaf, "the solver goes on after BudgetExhausted; let it through"
    assert not any(left), f"the solver leaves {left[0]} evaluations; ask for what is affordable()"
    return seen


def _check_going_on(
    make: Callable[[], Solver], problem: Callable[[], EditProblem], seed: int
) -> None:
    """A search killed before its last batch, then resumed, against one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        batches = _search(make(), problem(), seed, Path(folder, "whole"))
        assert batches > 1, "the budget is too small to see whether a search can go on"
        _search(make(), problem(), seed, Path(folder, "killed"), kill_at=batches - 1)
        _search(make(), problem(), seed, Path(folder, "killed"))
        whole, killed = (_history(Path(folder, name)) for name in ("whole", "killed"))
    assert whole == killed, "a search that goes on after a kill is not what it would have been"


def _search(
    solver: Solver, problem: EditProblem, seed: int, folder: Path, kill_at: int | None = None
) -> int:
    """Search, or go on, in `folder`; how many batches were scored."""
    from sparks.errors import SparksError
    from sparks.search.driver import solve
    from sparks.search.journal import Journal

    batches = 0

    def count() -> None:
        nonlocal batches
        if batches == kill_at:
            raise _Kill
        batches += 1

    problem.guards.append(count)
    with contextlib.closing(Journal(folder)) as journal, contextlib.suppress(_Kill):
        try:
            solve(problem, solver, seed=seed, journal=journal)
        except SparksError as error:
            raise AssertionError(f"the search cannot go on: {error}") from error
    return batches


def _history(folder: Path) -> list[dict[str, Any]]:
    from sparks.search.history import read_rows

    rows, _ = read_rows(folder / "history.jsonl")
    return [{key: value for key, value in row.items() if key != "cost"} for row in rows]


def _record(problem: EditProblem) -> Seen:
    seen: Seen = []

    def observe(evaluations: list[Evaluation]) -> None:
        seen.extend((evaluation.z_sha256, evaluation) for evaluation in evaluations)

    problem.observers.append(observe)
    return seen


def _fingerprints(seen: Seen) -> list[tuple[str, int]]:
    return [(fingerprint, evaluation.seed) for fingerprint, evaluation in seen]
