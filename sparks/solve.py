"""The driver: runs any solver on a problem and keeps the best evaluation as it was scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sparks.budget import BudgetExhausted
from sparks.errors import SparksError
from sparks.problem import EditProblem, Evaluation

Listener = Callable[[Evaluation, Evaluation], None]  # an evaluation, and the best one so far


class Solver(Protocol):
    """Anything that searches. It never counts, logs, saves or stops for the budget.

    An attribute `patience` (evaluations without a new best) makes the driver stop early.
    `varies_noise = True` lets candidates under other noise than the search's own be the best.
    """

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Search until `problem.evaluate` raises or nothing is left to try; start at z = 0."""


class AskTell(ABC):
    """A solver in two halves: propose candidates, learn from their evaluations."""

    needs_gradient = False

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Evaluate the start, then ask and tell until the driver ends it."""
        self.setup(problem, rng)
        z = torch.zeros(1, problem.dim, device=problem.device)
        while True:
            progress = problem.meter.progress
            self.tell(problem.evaluate(z, gradient=self.needs_gradient), progress)
            z = self.ask()

    @abstractmethod
    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Prepare for a problem; called once, before anything else."""

    @abstractmethod
    def ask(self) -> Tensor:
        """Candidates `[B, k]` to evaluate next."""

    @abstractmethod
    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Learn from what was asked; `progress` is the share of the budget spent before it."""


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        start: the first evaluation, z = 0.
        best: the lowest total, with its z and frames as scored.
        evaluations: how many there were.
        stopped_by: a counter of the budget, `patience`, `diverged`, `interrupt` or `solver`.
    """

    start: Evaluation
    best: Evaluation
    evaluations: int
    stopped_by: str


class _Stop(Exception):
    """The driver has seen enough."""


def solve(
    problem: EditProblem,
    solver: Solver,
    *,
    seed: int = 0,
    listeners: Sequence[Listener] = (),
) -> Outcome:
    """Search until the budget, the solver, patience or the user ends it.

    Raises:
        SparksError: not one evaluation could be kept.
    """
    own_noise = None if getattr(solver, "varies_noise", False) else problem.conditioning.seed
    keeper = _Keeper(own_noise, getattr(solver, "patience", None), listeners)
    problem.observers.append(keeper)
    try:
        solver.run(problem, np.random.default_rng(seed))
        stopped_by = "solver"
    except BudgetExhausted as end:
        stopped_by = end.counter
    except _Stop as end:
        stopped_by = str(end)
    except KeyboardInterrupt:
        stopped_by = "interrupt"
    finally:
        problem.observers.remove(keeper)
    return keeper.outcome(stopped_by)


class _Keeper:
    """Remembers the first and the best evaluation and tells the listeners.

    Args:
        seed: of the noise under which candidates compete, None for any.
        patience: evaluations without a new best that end the search, None for any number.
        listeners: told of every evaluation.
    """

    def __init__(
        self, seed: int | None, patience: int | None, listeners: Sequence[Listener]
    ) -> None:
        self.seed, self.patience, self.listeners = seed, patience, listeners
        self.start: Evaluation | None = None
        self.best: Evaluation | None = None
        self.count = 0

    def __call__(self, evaluations: list[Evaluation]) -> None:
        for evaluation in evaluations:
            self._keep(evaluation)
        best = self.best
        if best is None or not all(evaluation.finite for evaluation in evaluations):
            raise _Stop("diverged")
        if self.patience is not None and evaluations[-1].index - best.index >= self.patience:
            raise _Stop("patience")

    def _keep(self, evaluation: Evaluation) -> None:
        self.count += 1
        # Only comparable candidates compete: a real loss, in time, under noise that was allowed.
        allowed = self.seed in (None, evaluation.seed)
        fair = np.isfinite(evaluation.total) and not evaluation.late and allowed
        if self.start is None:
            self.start = _stored(evaluation)
            # Even a late start must be there to fall back on.
            fair = bool(np.isfinite(evaluation.total))
        if fair and (self.best is None or evaluation.total < self.best.total):
            self.best = _stored(evaluation)
            evaluation = self.best
        for listener in self.listeners:
            listener(evaluation, self.best or evaluation)

    def outcome(self, stopped_by: str) -> Outcome:
        if self.start is None or self.best is None:
            why = "no evaluation was finished" if self.start is None else "the loss is not finite"
            raise SparksError(f"nothing was found: {why} ({stopped_by}); raise the budget or seed")
        return Outcome(self.start, self.best, self.count, stopped_by)


def _stored(evaluation: Evaluation) -> Evaluation:
    """A copy that does not keep the rest of its batch, or the device's memory, alive."""
    frames = None if evaluation.frames is None else evaluation.frames.cpu().clone()
    return replace(evaluation, z=evaluation.z.clone(), frames=frames, gradient=None)
