"""Intervals over participants and scenarios: both are drawn anew, with replacement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sparks.evaluation.statistics.counts import Array, Counts, Denominator, Standing
from sparks.evaluation.statistics.votes import Votes

RESAMPLES = 2000
LEVEL = (0.025, 0.975)


def intervals(
    survey: Votes | Counts, denominator: Denominator = "any_tick", resamples: int = RESAMPLES
) -> tuple[Standing, Standing]:
    """Lower and upper ends of the 95 % intervals of the four figures, `[M]` each.

    Of Votes, participants and scenarios are resampled; of Counts, which know no participants, only
    scenarios. The same survey always gives the same interval.
    """
    rng = np.random.default_rng(0)
    drawn: dict[str, list[Array]] = {name: [] for name in Standing.__dataclass_fields__}
    for counts in _resampled(survey, rng, resamples):
        weights = times_drawn(len(counts.scenarios), rng)
        with np.errstate(invalid="ignore"):  # where nobody drawn has voted
            standing = counts.standing(weights, denominator)
        for name, values in vars(standing).items():
            drawn[name].append(values)
    low, high = (
        Standing(**{name: np.nanquantile(values, level, axis=0) for name, values in drawn.items()})
        for level in LEVEL
    )
    return low, high


def _resampled(survey: Votes | Counts, rng: np.random.Generator, count: int) -> Iterator[Counts]:
    for _ in range(count):
        yield (
            survey.counts(times_drawn(len(survey.participants), rng))
            if isinstance(survey, Votes)
            else survey
        )


def times_drawn(count: int, rng: np.random.Generator) -> Array:
    """How often each of `count` is drawn in `count` draws with replacement."""
    return np.bincount(rng.integers(count, size=count), minlength=count).astype(float)
