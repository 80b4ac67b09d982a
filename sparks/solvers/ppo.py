"""PPO on the controls, by stable-baselines3."""

import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.search.problem import EditProblem
from sparks.solvers.sampling import affordable, check_patience, check_population, draw, spread
from sparks.spaces.base import LOW_DIMENSIONAL

log = logging.getLogger("sparks")

BOUND = 100.0  # of the environment's box, far beyond where a search goes
LOST = 10.0  # nats; after longer updates, ratios of probability lie far outside of any clip range


class PPO:
    """Proximal policy optimisation (Schulman et al. 2017) of a Gaussian over z.

    An episode is one edit, its reward minus the loss; the policy is a mean and a standard deviation
    for each coordinate, whatever it observes; advantages are rewards, centred and scaled within a
    batch. After the start, batches are drawn and learnt from as long as something is left over for
    the mean; with what is left the mean is evaluated, and draws around it.

    `report` says afterwards what was learnt with, and how far each update moved the policy
    (`kl`, in nats); an update too long for probability ratios to mean anything is warned of.

    Args:
        batch: candidates per update, at least 2; by default about half the root of the
            evaluations there are, between 4 and 16, so that few are left over.
        sigma: standard deviation of the policy at the start; the `sigma` of the space if None.
        epochs: gradient steps per batch.
        target_kl: nats after which the epochs of an update end; by default k / 16, at most 4;
            0 for no such end, which needs an lr.
        lr: Adam's learning rate; by default `sigma sqrt(2 target_kl / k) / epochs`, with which all
            epochs, each moving every coordinate of the mean by lr, are `target_kl` away.
        clip_range: how far from 1 a probability ratio is still learnt from.
        patience: evaluations without a new best after which the driver stops; None for never.

    Raises:
        SparksError: a number out of range.
    """

    default_space = LOW_DIMENSIONAL

    def __init__(
        self,
        *,
        batch: int | None = None,
        sigma: float | None = None,
        epochs: int = 4,
        target_kl: float | None = None,
        lr: float | None = None,
        clip_range: float = 0.5,
        patience: int | None = None,
    ) -> None:
        check_patience(patience)
        check_population(8 if batch is None else batch, sigma)
        if batch == 1:
            raise SparksError("batch is 1; ppo compares candidates and needs 2 or more")
        for name, value in (("epochs", epochs), ("lr", lr), ("clip_range", clip_range)):
            if value is not None and not 0 < value < math.inf:
                raise SparksError(f"{name} is {value}; it must be positive")
        if target_kl is not None and not (0 < target_kl < math.inf or (target_kl == 0 and lr)):
            raise SparksError(f"target_kl is {target_kl}; give a positive one, or 0 and an lr")
        self.batch, self.sigma, self.epochs = batch, sigma, epochs
        self.target_kl, self.lr, self.clip_range = target_kl, lr, clip_range
        self.patience = patience
        self.report: dict[str, Any] = {}

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        """The start, updates, and the mean they end with."""
        problem.evaluate(torch.zeros(problem.dim))
        batch = self.batch or even_batch(problem.affordable())
        agent = self._agent(problem, batch, int(rng.integers(2**31)))
        while True:
            left = affordable(problem)
            if left > batch:
                self._update(agent, batch)
            else:
                problem.evaluate(_around(agent.policy, draw(rng, max(1, int(left)), problem.dim)))

    def _agent(self, problem: EditProblem, batch: int, seed: int) -> Any:
        """A fresh policy at zero, learning from one batch at a time."""
        import stable_baselines3

        from sparks.solvers.episodes import Episodes
        from sparks.solvers.gaussian import GaussianPolicy
        from sparks.solvers.vecenv import EpisodesVecEnv

        target_kl = min(problem.dim / 16, 4.0) if self.target_kl is None else self.target_kl
        sigma = spread(self.sigma, problem)
        lr = self.lr or sigma * math.sqrt(2 * target_kl / problem.dim) / self.epochs
        self.report = {"batch": batch, "lr": lr, "target_kl": target_kl, "kl": []}
        return stable_baselines3.PPO(
            GaussianPolicy,
            EpisodesVecEnv(Episodes(batch, problem, bound=BOUND)),
            learning_rate=lr,
            n_steps=1,
            batch_size=batch,
            n_epochs=self.epochs,
            clip_range=self.clip_range,
            target_kl=target_kl or None,
            policy_kwargs={"log_std_init": math.log(sigma)},
            seed=seed,
            device="cpu",
        )

    def _update(self, agent: Any, batch: int) -> None:
        """Draw one batch and learn from it."""
        before = agent.policy.parameters_now()
        agent.learn(batch, reset_num_timesteps=False)
        moved = divergence(before, agent.policy.parameters_now())
        if moved > LOST and max(self.report["kl"], default=0.0) <= LOST:
            log.warning(
                "ppo: an update moved the policy by %.3g nats over %d coordinates: what it learns "
                "is chance; search a smaller space, or lower solver.lr or solver.target_kl",
                *(moved, len(before[0])),
            )
        self.report["kl"].append(moved)


def even_batch(left: int | None) -> int:
    """A batch near half the root of `left` evaluations, one of which the mean shall have."""
    if left is None:
        return 8
    wanted = min(max(round(math.sqrt(left) / 2), 4), 16)
    sizes = range(max(2, wanted // 2), 2 * wanted + 1)
    return min(sizes, key=lambda size: (left - 1) % size + abs(size - wanted))


def divergence(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> float:
    """KL(before || after) in nats between Gaussians of (mean, log of standard deviation)."""
    (mean, log_std), (other, other_log_std) = before, after
    ratio = (2 * (log_std - other_log_std)).exp()
    shift = ((mean - other) / other_log_std.exp()).square()
    return float((ratio + shift - 1).sum() / 2 + (other_log_std - log_std).sum())


def _around(policy: Any, draws: Tensor) -> Tensor:
    """The policy's mean, then candidates from it."""
    mean, log_std = policy.parameters_now()
    draws[0] = 0
    return mean + log_std.exp() * draws
