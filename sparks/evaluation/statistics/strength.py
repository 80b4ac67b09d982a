"""Plackett-Luce: one strength for each method, from choices among those that were shown.

A ballot stands for its choices: the first among all, the second among the others, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sparks.evaluation.statistics.bootstrap import LEVEL, times_drawn
from sparks.evaluation.statistics.counts import Array
from sparks.evaluation.statistics.votes import Choice, Votes

RESAMPLES = 200
REGULARISATION = 0.01  # a method that nobody ever chose has no finite strength without


@dataclass(frozen=True)
class Strengths:
    """Log strengths `[M]` with mean 0, the ends of their 95 % intervals, and of their ranks'."""

    mean: Array
    low: Array
    high: Array
    best_rank: Array
    worst_rank: Array


def strengths(votes: Votes, resamples: int = RESAMPLES) -> Strengths:
    """Fitted to all ballots; the intervals resample participants and scenarios."""
    rng = np.random.default_rng(0)
    ballots = votes.choices()
    count = len(votes.methods)
    mean = _fit(count, (choice for _, _, choices in ballots for choice in choices))
    drawn = []
    for _ in range(resamples):
        person = times_drawn(len(votes.participants), rng).astype(int)
        scenario = times_drawn(len(votes.scenarios), rng).astype(int)
        again = (c for p, s, choices in ballots for c in choices * (person[p] * scenario[s]))
        drawn.append(_fit(count, again, mean))
    low, high = np.quantile(drawn, LEVEL, axis=0)
    best = np.quantile(_ranks(drawn, "min"), LEVEL[0], axis=0)
    worst = np.quantile(_ranks(drawn, "max"), LEVEL[1], axis=0)
    return Strengths(mean, low, high, best, worst)


def _ranks(drawn: Sequence[Array], equals: str) -> Array:
    """1 for the strongest; equals share the least or the greatest of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.round(drawn, 3), method=equals, axis=1), dtype=float)


def _fit(count: int, choices: Iterable[Choice], start: Array | None = None) -> Array:
    import choix

    fitted = choix.ilsr_top1(
        count, list(choices), alpha=REGULARISATION, initial_params=start, tol=1e-4
    )
    return np.asarray(fitted - fitted.mean(), dtype=float)
