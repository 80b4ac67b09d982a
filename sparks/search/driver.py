"""The driver: runs any solver on a problem and keeps the best evaluation as it was scored."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sparks.errors import SparksError
from sparks.models.memory import OutOfMemory, enough_memory
from sparks.registry import complete
from sparks.search.budget import BudgetExhausted
from sparks.search.checkpoints import Checkpoint
from sparks.search.evaluation import Evaluation
from sparks.search.foreign import blaming
from sparks.search.history import HistoryRow, Past, batch_of, to_evaluation, to_row
from sparks.search.interruption import Interruption
from sparks.search.journal import Journal
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell, Solver

log = logging.getLogger("sparks")

IN_A_ROW = 3  # evaluations without a usable number that end a search

Listener = Callable[[Evaluation, Evaluation], None]  # an evaluation, and the best one so far


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        start: the first evaluation, z = 0.
        best: the lowest total (by the solver's `min_delta`), with its z and frames as scored.
        evaluations: how many there were.
        skipped: how many of them had a loss or gradient that is no number.
        stopped_by: a counter of the budget, `patience`, `diverged` (three in a row skipped),
            `interrupt`, `memory` or `solver`.
    """

    start: Evaluation
    best: Evaluation
    evaluations: int
    skipped: int
    stopped_by: str


class _Stop(Exception):
    """The driver has seen enough."""


def solve(
    problem: EditProblem,
    solver: Solver,
    *,
    seed: int = 0,
    listeners: Sequence[Listener] = (),
    journal: Journal | None = None,
) -> Outcome:
    """Search until the budget, the solver, patience or the user ends it.

    The first Ctrl-C or SIGTERM ends it after the running evaluation, the second one at once.

    Args:
        listeners: told of every evaluation that is not recalled.
        journal: where every evaluation is recorded; the search goes on from what it holds.

    Raises:
        KeyboardInterrupt: at the second interruption, or at the first if there is nothing yet.
        SparksError: not one evaluation could be kept, or `journal` cannot be written or is of
            another search.

    Examples:
        >>> from sparks.runs.prepare import prepare
        >>> from sparks.solvers.sampling import RandomSearch
        >>> problem = prepare({"budget": "qwen_calls=3"}).problem
        >>> outcome = solve(problem, RandomSearch(sigma=0.5))
        >>> outcome.evaluations, outcome.best.total <= outcome.start.total
        (3, True)
    """
    keeper = _Keeper(problem, complete(solver, Solver), listeners, journal)
    with Interruption() as interruption:

        def guard() -> None:
            if interruption.wanted:
                raise _Stop("interrupt")

        problem.observers.append(keeper)
        problem.guards.append(guard)
        try:
            memory = enough_memory("searching")
            with memory, blaming("solver", solver, BudgetExhausted, _Stop):
                _run(problem, solver, np.random.default_rng(seed), keeper)
            stopped_by = "solver"
        except BudgetExhausted as end:
            stopped_by = end.counter
        except _Stop as end:
            stopped_by = str(end)
        except OutOfMemory as error:
            if keeper.best is None:
                raise
            log.warning("the search ends here: %s", error)
            stopped_by = "memory"
        finally:
            problem.observers.remove(keeper)
            problem.guards.remove(guard)
    return keeper.outcome(stopped_by)


def _run(problem: EditProblem, solver: Solver, rng: np.random.Generator, keeper: "_Keeper") -> None:
    """Search from the start, or go on: from the solver's state, else by recalling every row."""
    rows, checkpoint = keeper.rows, keeper.checkpoint
    if checkpoint is None:
        if rows and solver.needs_gradient:
            log.warning("there is no state to go on from: %d gradients are made again", len(rows))
        problem.resume(Past(rows), 0)
        return solver.run(problem, rng)
    after = checkpoint.before
    saved = checkpoint.gradients
    gradients = () if saved is None else tuple(saved.to(problem.device))
    past = Past(rows, dict(enumerate(gradients, after)))
    problem.resume(past, after, rows[after - 1]["cost"] if after else None)
    keeper.restore(checkpoint, problem.device)
    assert isinstance(solver, AskTell)  # no other has a checkpoint
    solver.setup(problem, rng)
    solver.load_state_dict(checkpoint.state)
    return solver.search(problem, checkpoint.z.to(problem.device))


class _Keeper:
    """Remembers the first and the best evaluation, records all and tells the listeners."""

    def __init__(
        self,
        problem: EditProblem,
        solver: Solver,
        listeners: Sequence[Listener],
        journal: Journal | None,
    ) -> None:
        own_noise = problem.conditioning.seed
        self.seed = None if solver.varies_noise else own_noise
        self.patience, self.min_delta = solver.patience, solver.min_delta
        self.stateful = solver if isinstance(solver, AskTell) else None
        self.listeners, self.journal = listeners, journal
        self.rows: list[HistoryRow] = list(journal.rows) if journal else []
        self.checkpoint = journal.checkpoint if journal and self.stateful else None
        self.start: Evaluation | None = None
        self.best: Evaluation | None = None
        self.count = self.skipped = self.in_a_row = 0

    def restore(self, checkpoint: Checkpoint, device: torch.device) -> None:
        """Remember what was before the checkpoint's batch."""
        rows = self.rows[: checkpoint.before]
        self.count = len(rows)
        self.skipped, self.in_a_row = checkpoint.skipped
        for row in rows[:1]:
            self.start = to_evaluation(row, torch.zeros_like(checkpoint.z[0], device=device))
        for row in [row for row in rows if row["best"]][-1:]:
            assert checkpoint.best is not None  # there has been a best one
            best = to_evaluation(row, checkpoint.best.to(device))
            self.best = replace(best, batch=batch_of(rows, row))

    def __call__(self, evaluations: list[Evaluation]) -> None:
        skipped = (self.skipped, self.in_a_row)
        pairs = [self._keep(evaluation) for evaluation in evaluations]
        fresh = [pair for pair in pairs if pair[0].index >= len(self.rows)]
        if fresh and self.journal is not None:
            rows = [to_row(evaluation, evaluation is best) for evaluation, best in fresh]
            self.journal.record(rows, self._checkpoint(evaluations, skipped))
        for evaluation, best in fresh:
            for listener in self.listeners:
                listener(evaluation, best)
        self._judge(evaluations[-1].index)

    def _judge(self, index: int) -> None:
        if self.best is None or self.in_a_row >= IN_A_ROW:
            raise _Stop("diverged")
        if self.patience is not None and index - self.best.index >= self.patience:
            raise _Stop("patience")

    def _keep(self, evaluation: Evaluation) -> tuple[Evaluation, Evaluation]:
        """The evaluation, and the best one so far: the same object if it is."""
        self.count += 1
        self._count_skipped(evaluation)
        # Only comparable candidates compete: a real loss, in time, under noise that was allowed.
        allowed = self.seed in (None, evaluation.seed)
        fair = np.isfinite(evaluation.total) and not evaluation.late and allowed
        if self.start is None:
            self.start = _stored(evaluation)
            # Even a late start must be there to fall back on.
            fair = bool(np.isfinite(evaluation.total))
        if fair and (self.best is None or evaluation.total < self.best.total - self.min_delta):
            self.best = evaluation = _stored(evaluation)
        return evaluation, self.best or evaluation

    def _count_skipped(self, evaluation: Evaluation) -> None:
        if evaluation.finite:
            self.in_a_row = 0
            return
        self.skipped += 1
        self.in_a_row += 1
        log.warning(
            "evaluation %d: loss or gradient is no number; skipped, %d in a row end the search",
            *(evaluation.index + 1, IN_A_ROW),
        )

    def _checkpoint(
        self, evaluations: list[Evaluation], skipped: tuple[int, int]
    ) -> Checkpoint | None:
        state = self.stateful.state_dict() if self.stateful else None
        if state is None:
            return None
        gradients = [each.gradient for each in evaluations if each.gradient is not None]
        return Checkpoint(
            evaluations=self.count,
            state=state,
            z=torch.stack([evaluation.z for evaluation in evaluations]),
            gradients=torch.stack(gradients) if gradients else None,
            best=None if self.best is None else self.best.z,
            skipped=skipped,
        )

    def outcome(self, stopped_by: str) -> Outcome:
        if self.count < len(self.rows):
            raise SparksError(
                f"the search ends after {self.count} evaluations ({stopped_by}), but the run holds "
                f"{len(self.rows)}: settings, code or libraries are not those of the run; "
                "start a new one"
            )
        if self.start is None and stopped_by == "interrupt":
            raise KeyboardInterrupt
        if self.start is None or self.best is None:
            why = (
                "no evaluation was finished; raise the budget"
                if self.start is None
                else "the loss of the start is no number; check clip and critic, or set "
                "dtype=float32"
            )
            raise SparksError(f"nothing was found ({stopped_by}): {why}")
        return Outcome(self.start, self.best, self.count, self.skipped, stopped_by)


def _stored(evaluation: Evaluation) -> Evaluation:
    """A copy that does not keep the rest of its batch, or the device's memory, alive."""
    frames = None if evaluation.frames is None else evaluation.frames.cpu().clone()
    return replace(evaluation, z=evaluation.z.clone(), frames=frames, gradient=None)
