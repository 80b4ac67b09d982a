"""How well a number ranks what is true: ROC, Kendall's tau, and pairs put right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np


def roc_area(values: Sequence[float], truth: Sequence[bool]) -> float | None:
    """Area under the ROC curve: how often a true one has the greater value, ties half.

    0.5 is chance, below it the number ranks the other way round; None without both kinds.
    """
    from scipy.stats import rankdata

    true = np.asarray(truth, dtype=bool)
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return None
    ranks = rankdata(np.asarray(values, dtype=float))
    return float((ranks[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def roc_curve(values: Sequence[float], truth: Sequence[bool]) -> tuple[list[float], list[float]]:
    """Shares of false and of true ones that are accepted, from no one to all."""
    order = np.argsort(-np.asarray(values, dtype=float), kind="stable")
    true = np.asarray(truth, dtype=float)[order]
    ends = np.flatnonzero(np.diff(np.asarray(values, dtype=float)[order], append=np.nan) != 0)
    accepted, refused = np.cumsum(true)[ends], np.cumsum(1 - true)[ends]
    shares = (np.concatenate([[0], part / max(part[-1], 1)]) for part in (refused, accepted))
    false, right = (share.tolist() for share in shares)
    return false, right


def kendall(values: Sequence[float], truth: Sequence[float]) -> float | None:
    """Kendall's tau-b; None where either does not vary."""
    from scipy.stats import kendalltau

    if len(set(values)) < 2 or len(set(truth)) < 2:
        return None
    return float(kendalltau(values, truth).statistic)


def pairs_right(
    values: Sequence[float], truth: Sequence[float], groups: Sequence[Any] | None = None
) -> tuple[float, int] | None:
    """Share of pairs that differ in truth and are put in that order, ties half; and how many.

    Args:
        values: what ranks.
        truth: what is so.
        groups: pairs are made within these only, e.g. of one scenario.
    """
    marks = list(groups) if groups is not None else [None] * len(values)
    in_order = [
        0.5 if values[i] == values[j] else float((values[i] > values[j]) == (truth[i] > truth[j]))
        for i, j in itertools.combinations(range(len(values)), 2)
        if marks[i] == marks[j] and truth[i] != truth[j]
    ]
    return (float(np.mean(in_order)), len(in_order)) if in_order else None
