"""How far raters agree with one another: Krippendorff's alpha and Fleiss' kappa."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sparks.evaluation.statistics.counts import Array

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff(ratings: Array, level: Level = "nominal") -> float | None:
    """Alpha of `ratings [raters, units]`, NaN where a rater was not asked.

    1 is perfect, 0 is chance; None where nothing varies or nobody rated the same unit.

    Args:
        ratings: numbers.
        level: how far two values are apart: all the same far, by their ranks, or by their
            difference.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    # How often each value was given to each unit that two raters or more have rated: [U, V].
    given = np.stack([(ratings == value).sum(0) for value in values], -1).astype(float)
    given = given[given.sum(-1) >= 2]
    if len(values) < 2 or not given.size:
        return None
    raters = given.sum(-1, keepdims=True)
    # Coincidences of values within units: [V, V].
    weighted = given / (raters - 1)
    seen = given.T @ weighted - np.diag(weighted.sum(0))
    total = seen.sum(0)
    expected = (np.outer(total, total) - np.diag(total)) / (total.sum() - 1)
    apart = _distances(values, total, level)
    if not (expected * apart).sum():
        return None
    return float(1 - (seen * apart).sum() / (expected * apart).sum())


def _distances(values: Array, total: Array, level: Level) -> Array:
    """Squared distances `[V, V]` between values of which `total [V]` were given."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    place = values
    if level == "ordinal":  # the values between two, and half of each of the two
        place = np.cumsum(total) - total / 2
    return np.asarray((place[:, None] - place[None, :]) ** 2)


def fleiss(given: Array) -> float | None:
    """Kappa of `given [units, categories]`, how many raters put a unit into each category.

    Units must have equally many raters, two at least; None where that is not so or nothing varies.
    """
    raters = given.sum(1)
    if not len(given) or (raters != raters[0]).any() or raters[0] < 2:
        return None
    share = given.sum(0) / given.sum()
    chance = float((share**2).sum())
    if chance == 1:
        return None
    count = raters[0]
    same = ((given**2).sum(1) - count) / (count * (count - 1))
    return float((same.mean() - chance) / (1 - chance))
