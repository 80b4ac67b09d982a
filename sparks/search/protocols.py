"""What the driver asks of a solver, and a solver in two halves."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem


@runtime_checkable
class Solver(Protocol):
    """Anything that searches. It never counts, logs, saves or stops for the budget.

    Attributes:
        needs_gradient: whether candidates are evaluated with their gradients.
        varies_noise: let candidates under other noise than the search's own be the best.
        patience: evaluations without a new best after which the driver stops; None for never.
        min_delta: how much lower than the best a total must be to be the new best.
        default_space: settings of the space that is searched unless the user names one.
        report: plain data about the search, which stands in the result as `solver_report`.
    """

    needs_gradient: bool = False
    varies_noise: bool = False
    patience: int | None = None
    min_delta: float = 0.0
    default_space: dict[str, Any] | None = None
    report: dict[str, Any] | None = None

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Search until `problem.evaluate` raises or nothing is left to try; start at z = 0."""


class AskTell(Solver):
    """A solver in two halves: propose candidates, learn from their evaluations.

    One that needs gradients gives a `state_dict()` of plain data and takes it back with
    `load_state_dict(state)` after `setup`: all that `tell` and what follows depend on, as it is
    after `ask`. The others are deterministic in `rng` and in what they are told, and are resumed by
    being told it again.
    """

    noise: int | Sequence[int] | None = None  # seeds of what is asked next; None is the search's

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Evaluate the start, then ask and tell until the driver ends it."""
        self.setup(problem, rng)
        self.search(problem, torch.zeros(1, problem.dim, device=problem.device))

    def search(self, problem: EditProblem, z: Tensor) -> None:
        """Tell and ask from candidates `z [B, k]` on."""
        while True:
            progress = problem.meter.progress
            evaluations = problem.evaluate(z, gradient=self.needs_gradient, seed=self.noise)
            if self.needs_gradient:
                evaluations = [evaluation for evaluation in evaluations if evaluation.finite]
            if evaluations:
                self.tell(evaluations, progress)
            z = self.ask()

    @abstractmethod
    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Prepare for a problem; called once, before anything else."""

    @abstractmethod
    def ask(self) -> Tensor:
        """Candidates `[B, k]` to evaluate next."""

    @abstractmethod
    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Learn from what was asked; `progress` is the share of the budget spent before it.

        With gradients, evaluations are left out whose total or gradient is no number; without, a
        total may be NaN.
        """

    def state_dict(self) -> dict[str, Any] | None:
        """All that the search depends on, plain data; None to be told everything again instead."""
        return None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; called after `setup`."""
        raise TypeError(f"{type(self).__name__} saves no state, so there is none to go on from")
