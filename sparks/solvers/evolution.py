"""Searches without gradients by nevergrad: CMA-ES, and any other of its optimisers.

Each generation is asked for, rendered and told as a whole: nevergrad drops candidates when the
population is no multiple of what is told together.
"""

import difflib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell
from sparks.solvers.sampling import affordable, check_population, fitting
from sparks.spaces.base import LOW_DIMENSIONAL

UNUSABLE = 1e20  # told for a loss that is no number
ARCHIVE_BYTES = 256 * 2**20
LARGEST_FULL, LARGEST_MATRIX = 1000, 10_000  # coordinates

# pycma stops at a plateau, and nevergrad then silently starts it again from its first mean.
NEVER_STOP = {
    **dict.fromkeys(("tolflatfitness", "tolfacupx", "tolconditioncov", "maxiter"), np.inf),
    **dict.fromkeys(("tolfun", "tolfunhist", "tolx", "tolstagnation"), 0),
    "tolupsigma": np.inf,
}


class Nevergrad(AskTell):
    """Any optimiser of nevergrad's registry, in batches.

    The start is suggested first, except to optimisers that want one candidate at a time: they begin
    there, and some, as SPSA, count what they are told. The last batch is as long as the budget
    allows.

    Args:
        variant: its name there, e.g. `TwoPointsDE`; on the command line `nevergrad/TwoPointsDE`.
        batch: candidates rendered together; 1 for an optimiser that wants one at a time.
        sigma: standard deviation of the first candidates, in the space's unit.

    Raises:
        SparksError: no such optimiser, or a number out of range.
    """

    default_space = LOW_DIMENSIONAL

    def __init__(self, *, variant: str = "", batch: int = 8, sigma: float = 0.5) -> None:
        check_population(batch, sigma)
        self.variant, self.batch, self.sigma = variant, batch, sigma
        self.factory = self._find(variant)
        if self.factory.no_parallelization:
            self.batch = 1

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """A fresh optimiser around zero."""
        import nevergrad as ng

        self.problem = problem
        array = ng.p.Array(init=np.zeros(problem.dim))
        array.random_state = np.random.RandomState(rng.integers(2**32))
        self._build(array, ng)
        entry = 2 * 8 * problem.dim  # bytes: a point is stored twice
        self.optimizer.pruning = ng.optimization.utils.Pruning(1, max(4, ARCHIVE_BYTES // entry))
        self._asked = self._first()

    def ask(self) -> Tensor:
        """The next `[batch, k]`, or as many as the budget allows."""
        return self._draw(fitting(self.problem, self.batch))

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Report the losses of what was asked for; the start may not have been."""
        for candidate, evaluation in zip(self._asked, evaluations, strict=False):
            loss = evaluation.total if np.isfinite(evaluation.total) else UNUSABLE
            self.optimizer.tell(candidate, loss)

    def _find(self, name: str) -> Any:
        import nevergrad as ng

        if name not in ng.optimizers.registry:
            known = sorted(ng.optimizers.registry)
            close = difflib.get_close_matches(name, known, n=3) or ["TwoPointsDE", "PSO"]
            raise SparksError(
                f"nevergrad has no optimiser {name!r}; "
                f"name one of its {len(known)}, e.g. --solver nevergrad/{close[0]}"
            )
        return ng.optimizers.registry[name]

    def _build(self, array: Any, ng: Any) -> None:
        array.set_mutation(sigma=self.sigma)
        self.optimizer = self.factory(array, self.problem.affordable(), self.batch)

    def _first(self) -> list[Any]:
        """The start as a candidate to be told about, if the optimiser shall know of it."""
        if self.factory.no_parallelization:
            return []
        self.optimizer.suggest(np.zeros(self.problem.dim))
        return [self.optimizer.ask()]

    def _draw(self, count: int) -> Tensor:
        self._asked = [self.optimizer.ask() for _ in range(count)]
        return torch.from_numpy(np.stack([each.value for each in self._asked])).float()


class CMA(Nevergrad):
    """CMA-ES (Hansen 2016) by nevergrad's `ParametrizedCMA` on pycma; a batch is a generation.

    The mean begins at the start. Whole generations are spent as long as something is left over;
    with what is left the final mean is evaluated, and draws around it.

    Args:
        batch: size of the population.
        sigma: standard deviation of the first generation, in the space's unit.
        diagonal: keep variances only; by default above 1000 coordinates.

    Raises:
        SparksError: a number out of range.
    """

    def __init__(self, *, batch: int = 8, sigma: float = 0.5, diagonal: bool | None = None) -> None:
        check_population(batch, sigma)
        if batch < 2:
            raise SparksError(f"batch is {batch}; cma needs a population of 2 or more")
        self.batch, self.sigma, self.diagonal = batch, sigma, diagonal

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """A fresh distribution around zero.

        Raises:
            SparksError: a space of one coordinate, or too many for the whole matrix.
        """
        if problem.dim < 2:
            raise SparksError("cma needs a space of 2 or more coordinates; this one has 1")
        self.separate = problem.dim > LARGEST_FULL if self.diagonal is None else self.diagonal
        if not self.separate and problem.dim > LARGEST_MATRIX:
            raise SparksError(
                f"cma's matrix over {problem.dim} coordinates does not fit; "
                "leave solver.diagonal out, or choose a smaller space"
            )
        self.generations = self.averaged = 0
        super().setup(problem, rng)

    def ask(self) -> Tensor:
        """A generation; at the end the mean and what else the budget allows."""
        left = affordable(self.problem)
        if left > self.batch:
            self.generations += 1
            return self._draw(self.batch)
        return self._rest(max(1, int(left)))

    def _rest(self, count: int) -> Tensor:
        rest = self._draw(self.batch)[:count]
        self._asked = []  # a part of a generation teaches nothing
        if self.generations > self.averaged:  # a mean that has been evaluated is not asked again
            rest[0] = torch.from_numpy(self.optimizer.es.mean)
            self.averaged = self.generations
        return rest

    def _build(self, array: Any, ng: Any) -> None:
        family = ng.families.ParametrizedCMA(
            scale=self.sigma, popsize=self.batch, diagonal=self.separate, inopts=NEVER_STOP
        )
        self.optimizer = family(array, None, self.batch)

    def _first(self) -> list[Any]:
        return []
