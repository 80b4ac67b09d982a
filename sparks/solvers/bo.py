"""Bayesian optimisation by BoTorch: a Gaussian process over z, asked inside a trust region."""

import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell
from sparks.solvers.sampling import check_population, draw, fitting
from sparks.spaces.base import LOW_DIMENSIONAL

log = logging.getLogger("sparks")

GROWS, SHRINKS = 2, 2  # rounds in a row with, or without, a new best that change the region
WIDEST, NARROWEST = 8.0, 0.05  # of its sides, in units of `sigma`
RESTARTS, RAW = 4, 64  # of the search for what to ask next


class BO(AskTell):
    """Expected improvement of a Gaussian process within a box around the best (TuRBO).

    A first batch of draws around the start, then rounds of `batch` candidates that together promise
    the most improvement (log expected improvement; Ament et al. 2023) inside the box, which grows
    while it finds better and shrinks while it does not (Eriksson et al. 2019). Losses that are no
    number are told as the worst there was.

    Args:
        initial: draws of the first batch.
        batch: candidates of a round, rendered together.
        sigma: standard deviation of the first draws, in the space's unit.
        length: side of the first box, in units of `sigma`; 0 asks everywhere within the widest.

    Raises:
        SparksError: a number out of range, or BoTorch is not installed.
    """

    default_space = LOW_DIMENSIONAL

    def __init__(
        self, *, initial: int = 9, batch: int = 5, sigma: float = 1.0, length: float = 1.0
    ) -> None:
        check_population(min(initial, batch), sigma)
        if not 0 <= length <= WIDEST:
            raise SparksError(f"length is {length}; give 0 to {WIDEST:g}")
        _botorch()
        self.initial, self.batch, self.sigma, self.length = initial, batch, sigma, length

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """Nothing is known yet."""
        self.problem, self.rng = problem, rng
        self.z = torch.zeros(0, problem.dim, dtype=torch.float64)
        self.totals: list[float] = []
        self.side, self.better, self.worse = self.length, 0, 0

    def ask(self) -> Tensor:
        """The first draws, then what promises the most."""
        if len(self.totals) == 1:
            count = fitting(self.problem, self.initial)
            return self.sigma * draw(self.rng, count, self.problem.dim)
        return self._promising(fitting(self.problem, self.batch)).float()

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        """Remember; change the box by what a round has found."""
        totals = [each.total for each in evaluations]
        before = min(filter(math.isfinite, self.totals), default=math.inf)
        round_of_its_own = len(self.totals) > 1 + self.initial
        self.z = torch.cat([self.z, torch.stack([each.z for each in evaluations]).cpu().double()])
        self.totals += totals
        if round_of_its_own:
            self._resize(min(filter(math.isfinite, totals), default=math.inf) < before - 1e-3)

    def _resize(self, improved: bool) -> None:
        self.better = self.better + 1 if improved else 0
        self.worse = 0 if improved else self.worse + 1
        if self.better == GROWS:
            self.side, self.better = min(2 * self.side, WIDEST), 0
        if self.worse == SHRINKS:
            self.side, self.worse = max(self.side / 2, NARROWEST), 0

    def _promising(self, count: int) -> Tensor:
        """`[count, k]` inside the box, by a process fitted to all that was seen."""
        from botorch.acquisition import qLogExpectedImprovement
        from botorch.optim import optimize_acqf

        losses = torch.tensor(self.totals, dtype=torch.float64)
        worst = losses[losses.isfinite()].max()
        values = -losses.nan_to_num(nan=float(worst))[:, None]
        best = self.z[int(values.argmax())]
        half = self.sigma * (self.side or WIDEST) / 2
        bounds = torch.stack([best - half, best + half])
        with torch.random.fork_rng():  # BoTorch draws from torch's own generator
            torch.manual_seed(int(self.rng.integers(2**31)))
            model = _fitted(self.z, values)
            improvement = qLogExpectedImprovement(model, best_f=values.max())
            found, _ = optimize_acqf(
                improvement, bounds, q=count, num_restarts=RESTARTS, raw_samples=RAW
            )
        chosen: Tensor = found
        return chosen


def _fitted(z: Tensor, values: Tensor) -> Any:
    """A Gaussian process of `values [n, 1]` at `z [n, k]`; its priors suit many dimensions."""
    import warnings

    from botorch.exceptions import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Normalize, Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = SingleTaskGP(
        z, values, input_transform=Normalize(z.shape[1]), outcome_transform=Standardize(1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        except ModelFittingError:
            log.debug("bo: the process keeps its prior's numbers, as none fit better")
    return model


def _botorch() -> None:
    try:
        import botorch  # noqa: F401
    except ImportError:
        raise SparksError(
            "bo needs BoTorch, which is not installed; pip install 'sound-sparks[bo]'"
        ) from None
