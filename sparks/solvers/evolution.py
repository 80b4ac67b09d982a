"""Searches without gradients by nevergrad: CMA-ES, and any other of its optimisers.

Each generation is asked for, rendered and told as a whole: nevergrad drops candidates when the
population is no multiple of what is told together.
"""

import contextlib
import difflib
import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError, shorten
from sparks.models.memory import is_out_of_memory
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell
from sparks.solvers.sampling import affordable, check_population, fitting, spread
from sparks.spaces.base import LOW_DIMENSIONAL

log = logging.getLogger("sparks")

UNUSABLE = 1e20  # told for a loss that is no number
ARCHIVE_BYTES = 256 * 2**20
HORIZON = 100  # evaluations that an optimiser plans for where no count limits them
LARGEST_FULL, LARGEST_MATRIX = 1000, 10_000  # coordinates

# pycma stops at a plateau, and nevergrad then silently starts it again from its first mean.
NEVER_STOP = {
    **dict.fromkeys(("tolflatfitness", "tolfacupx", "tolconditioncov", "maxiter"), np.inf),
    **dict.fromkeys(("tolfun", "tolfunhist", "tolx", "tolstagnation"), 0),
    "tolupsigma": np.inf,
}


class Failed(SparksError):
    """An optimiser of nevergrad's has raised something."""


class Batched(AskTell):
    """An optimiser of nevergrad's, asked for whole batches and told of them as a whole.

    What it raises names it. Before its first batch that is an error; afterwards it ends the search,
    as nothing is wrong with what was scored.

    Args:
        batch: candidates rendered together.
        sigma: standard deviation of the first candidates; the `sigma` of the space if None.

    Raises:
        SparksError: a number out of range.
    """

    default_space = LOW_DIMENSIONAL
    title: str  # in messages

    def __init__(self, batch: int, sigma: float | None) -> None:
        check_population(batch, sigma)
        self.batch, self.sigma = batch, sigma

    @abstractmethod
    def build(self, array: Any) -> Any:
        """The optimiser over nevergrad's `array`."""

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Search until the budget is spent or the optimiser fails."""
        try:
            super().run(problem, rng)
        except Failed as failure:
            if not self.begun:
                raise
            log.warning("the search ends here: %s", failure)

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """A fresh optimiser around zero."""
        import nevergrad as ng

        self.problem = problem
        self.asked: list[Any] = []  # nevergrad's candidates, to be told about
        self.begun = False
        array = ng.p.Array(init=np.zeros(problem.dim))
        array.random_state = np.random.RandomState(rng.integers(2**32))
        with self.named():
            self.optimizer = self.build(array)
        entry = 2 * 8 * problem.dim  # bytes: a point is stored twice
        self.optimizer.pruning = ng.optimization.utils.Pruning(1, max(4, ARCHIVE_BYTES // entry))

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Report the losses of what was asked for."""
        from nevergrad.common.errors import TellNotAskedNotSupportedError

        for candidate, evaluation in zip(self.asked, evaluations, strict=False):
            loss = evaluation.total if np.isfinite(evaluation.total) else UNUSABLE
            # The start was not its own idea, and some learn from those alone.
            with self.named(), contextlib.suppress(TellNotAskedNotSupportedError):
                self.optimizer.tell(candidate, loss)

    def draw(self, count: int) -> Tensor:
        """The next candidates `[count, k]`."""
        with self.named():
            self.asked = [self.optimizer.ask() for _ in range(count)]
        self.begun = True
        return torch.from_numpy(np.stack([each.value for each in self.asked])).float()

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Say whose exception it is."""
        try:
            yield
        except Exception as error:  # foreign code, which may fail in any way
            if is_out_of_memory(error):
                raise
            reason = shorten(" ".join(f"{type(error).__name__}: {error}".split()))
            raise Failed(
                f"nevergrad's {self.title} fails with {reason}; install what it needs, limit the "
                "budget by qwen_calls, or choose another"
            ) from error


class Nevergrad(Batched):
    """Any optimiser of nevergrad's registry.

    The start is suggested first, except to optimisers that want one candidate at a time: they begin
    there, and some, as SPSA, count what they are told; and to those that plan all in advance. The
    last batch is as long as the budget allows. Where only seconds limit it, the optimiser plans for
    100 evaluations; one that can do no more than planned ends the search.

    Args:
        variant: its name there, e.g. `TwoPointsDE`; on the command line `nevergrad/TwoPointsDE`.
        batch: candidates rendered together; 1 for an optimiser that wants one at a time.
        sigma: standard deviation of the first candidates; the `sigma` of the space if None.

    Raises:
        SparksError: no such optimiser, or a number out of range.
    """

    def __init__(self, *, variant: str = "", batch: int = 8, sigma: float | None = None) -> None:
        super().__init__(batch, sigma)
        self.title, self.factory = variant, _find(variant)
        if self.factory.no_parallelization:
            self.batch = 1

    def build(self, array: Any) -> Any:
        """As the registry has it."""
        array.set_mutation(sigma=spread(self.sigma, self.problem))
        return self.factory(array, self.problem.affordable() or HORIZON, self.batch)

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """A fresh optimiser around zero, which shall know of the start if it can."""
        super().setup(problem, rng)
        if not (self.factory.no_parallelization or self.factory.one_shot):
            with self.named():
                self.optimizer.suggest(np.zeros(problem.dim))
                self.asked = [self.optimizer.ask()]

    def ask(self) -> Tensor:
        """The next `[batch, k]`, or as many as the budget allows."""
        if self.problem.affordable() == 0:  # some fail when they are asked for more than planned
            return torch.zeros(1, self.problem.dim)
        return self.draw(fitting(self.problem, self.batch))


class CMA(Batched):
    """CMA-ES (Hansen 2016) by nevergrad's `ParametrizedCMA` on pycma; a batch is a generation.

    The mean begins at the start. Whole generations are spent as long as something is left over;
    with what is left the final mean is evaluated, and draws around it.

    Args:
        batch: size of the population.
        sigma: standard deviation of the first generation; the `sigma` of the space if None.
        diagonal: keep variances only; by default above 1000 coordinates.

    Raises:
        SparksError: a number out of range.
    """

    title = "ParametrizedCMA"

    def __init__(
        self, *, batch: int = 8, sigma: float | None = None, diagonal: bool | None = None
    ) -> None:
        super().__init__(batch, sigma)
        if batch < 2:
            raise SparksError(f"batch is {batch}; cma needs a population of 2 or more")
        self.diagonal = diagonal

    def build(self, array: Any) -> Any:
        """Variances alone or the whole matrix; a batch is a generation."""
        import nevergrad as ng

        family = ng.families.ParametrizedCMA(
            scale=spread(self.sigma, self.problem),
            popsize=self.batch,
            diagonal=self.separate,
            inopts=NEVER_STOP,
        )
        return family(array, None, self.batch)

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
            return self.draw(self.batch)
        return self._rest(max(1, int(left)))

    def _rest(self, count: int) -> Tensor:
        rest = self.draw(self.batch)[:count]
        self.asked = []  # a part of a generation teaches nothing
        if self.generations > self.averaged:  # a mean that has been evaluated is not asked again
            rest[0] = torch.from_numpy(self.optimizer.es.mean)
            self.averaged = self.generations
        return rest


def _find(name: str) -> Any:
    import nevergrad as ng

    if name not in ng.optimizers.registry:
        names = sorted(ng.optimizers.registry)
        close = difflib.get_close_matches(name, names, n=3) or ["TwoPointsDE", "PSO"]
        raise SparksError(
            f"nevergrad has no optimiser {name!r}; "
            f"name one of its {len(names)}, e.g. --solver nevergrad/{close[0]}"
        )
    return ng.optimizers.registry[name]
