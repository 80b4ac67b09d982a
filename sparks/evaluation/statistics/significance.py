"""Do methods differ at all, and which pairs do: over blocks (scenarios) that all were tried on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparks.errors import SparksError
from sparks.evaluation.statistics.counts import Array


@dataclass(frozen=True)
class Pair:
    """Two methods compared block by block: the mean difference, and p before and after Holm."""

    first: str
    second: str
    difference: float
    p: float
    p_holm: float


def friedman(scores: Array) -> float:
    """p of "all methods are ranked alike" for `scores [blocks, methods]`.

    Raises:
        SparksError: fewer than three methods or two blocks.
    """
    from scipy.stats import friedmanchisquare

    blocks, methods = scores.shape
    if methods < 3 or blocks < 2:
        raise SparksError(
            f"Friedman's test of {methods} methods on {blocks} scenarios: give 3 and 2 at least"
        )
    if (scores == scores[:, :1]).all():
        return 1.0
    return float(friedmanchisquare(*scores.T).pvalue)


def pairs(methods: Sequence[str], scores: Array, reference: str | None = None) -> list[Pair]:
    """Wilcoxon's signed-rank test of every pair over `scores [blocks, methods]`, with Holm.

    Args:
        methods: names.
        scores: paired: a row is one block.
        reference: compare with this method only.

    Raises:
        SparksError: no such method.
    """
    if reference not in (None, *methods):
        raise SparksError(f"no method {reference!r}; choose from {', '.join(methods)}")
    means = scores.mean(0)
    chosen = [
        (i, j) if _leads(methods, means, reference, i, j) else (j, i)
        for i, j in itertools.combinations(range(len(methods)), 2)
        if reference in (None, methods[i], methods[j])
    ]
    p = [wilcoxon(scores[:, i] - scores[:, j]) for i, j in chosen]
    return [
        Pair(methods[i], methods[j], float(means[i] - means[j]), raw, adjusted)
        for (i, j), raw, adjusted in zip(chosen, p, holm(p), strict=True)
    ]


def _leads(methods: Sequence[str], means: Array, reference: str | None, i: int, j: int) -> bool:
    """Whether i is named first: it is the reference, or the better of two others."""
    if reference is None:
        return bool(means[i] >= means[j])
    return methods[i] == reference


def wilcoxon(difference: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, exact with ties; zeros are left out.

    scipy tries signs one by one where there are ties, a thousand times slower.
    """
    from scipy.stats import rankdata

    difference = np.round(difference[difference != 0], 12)
    ranks = (2 * rankdata(abs(difference))).astype(int)  # ties have halves
    chance = np.ones(1)  # of each sum of the ranks of positive differences
    for rank in ranks:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = int(ranks[difference > 0].sum())
    return min(1.0, 2 * float(chance[: min(positive, ranks.sum() - positive) + 1].sum()))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p values, in their order."""
    order = np.argsort(p)
    raised = np.maximum.accumulate((len(p) - np.arange(len(p))) * np.asarray(p)[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1)
    return [float(value) for value in adjusted]
