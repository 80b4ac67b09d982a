"""Cosine distances in the full space, and whether labels group in it.

Runs of one task (its seeds) share source and prompt, runs of one seed what a search draws first,
and are near for that reason alone. So neighbours are looked for among runs that are apart in both,
and shuffling moves whole tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparks.evaluation.statistics.tables import Estimate, estimate

Array = npt.NDArray[np.floating[Any]]
SHUFFLES = 2000


@dataclass(frozen=True)
class Against:
    """A figure and what shuffled labels give.

    Attributes:
        found: its mean over tasks, with an interval over tasks and their seeds.
        shuffled, low, high: mean and 95 % range of the shuffles, each a mean over tasks too.
        p: share of shuffles, the labels as they are among them, that reach it.
    """

    found: Estimate
    shuffled: float
    low: float
    high: float
    p: float


def gram(vectors: Sequence[Array]) -> Array:
    """Inner products `[n, n]`, in float64."""
    size = len(vectors)
    products = np.empty((size, size))
    for i, first in enumerate(vectors):
        for j in range(i + 1):
            products[i, j] = products[j, i] = np.dot(first.astype(float), vectors[j].astype(float))
    return products


def cosine_distances(products: Array) -> Array:
    """1 - cos of every pair `[n, n]`, of their inner products."""
    lengths = np.sqrt(np.diag(products))
    distances = 1 - products / np.outer(lengths, lengths)
    np.fill_diagonal(distances, 0)
    return np.clip(distances, 0, 2)


def pairs(distances: Array, count: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The `count` nearest pairs and the `count` farthest, each from the most extreme on."""
    rows, columns = np.triu_indices(len(distances), 1)
    order = np.argsort(distances[rows, columns], kind="stable")
    every = [(int(rows[i]), int(columns[i])) for i in order]
    return every[:count], every[::-1][:count]


def apart(*groups: Sequence[Any]) -> Array:
    """`[n, n]`: 1 where two runs differ in each of these, such as task and seed.

    What all runs share, or what would leave a run without any other, does not count.
    """
    product = np.ones((len(groups[0]), len(groups[0])))
    np.fill_diagonal(product, 0)
    for marks in (np.asarray(each, dtype=object) for each in groups):
        narrowed = product * (marks[:, None] != marks[None, :])
        product = narrowed if narrowed.any(1).all() else product
    return product


def same_nearest(distances: Array, labels: Sequence[Any], away: Array) -> Array:
    """`[n]`: 1 where the nearest of the runs that are away has the same label."""
    marks = np.asarray(labels, dtype=object)
    nearest = np.where(away > 0, distances, np.inf).argmin(1)
    return (marks[nearest] == marks).astype(float)


def silhouettes(distances: Array, labels: Sequence[Any], away: Array) -> Array:
    """`[n]`: (b - a) / max(a, b), NaN where no run that is away has the same label.

    Of the runs that are away, a is the mean distance to those with the same label, b the smallest
    mean distance to those of another label.
    """
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    member = np.eye(len(names))[codes]
    counts = away @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (distances * away) @ member / counts
    own = means[np.arange(len(codes)), codes]
    other = np.where(member.astype(bool) | (counts == 0), np.inf, means).min(1)
    return (other - own) / np.maximum(own, other)  # type: ignore[no-any-return]


def grouping(
    distances: Array,
    labels: Sequence[Any],
    tasks: Sequence[Any],
    away: Array,
    shuffles: int = SHUFFLES,
) -> dict[str, Against]:
    """Nearest-neighbour `accuracy` and `silhouette`, each against labels shuffled over tasks.

    The silhouette is left out where no label has two tasks.

    Args:
        distances: `[n, n]`.
        labels: one for each run, the same for all runs of a task.
        tasks: of the runs.
        away: `[n, n]`, 1 where two runs may be neighbours, as of `apart`.
        shuffles: how many.
    """
    rng = np.random.default_rng(0)
    label = dict(zip(tasks, labels, strict=True))
    drawn = [
        dict(zip(label, rng.permutation(list(label.values())), strict=True))
        for _ in range(shuffles)
    ]
    measures = {"accuracy": same_nearest, "silhouette": silhouettes}
    found = {
        name: _against(lambda chosen, of=measure: of(distances, chosen, away), labels, tasks, drawn)
        for name, measure in measures.items()
    }
    return {name: each for name, each in found.items() if each is not None}


def _against(
    measure: Callable[..., Array],
    labels: Sequence[Any],
    tasks: Sequence[Any],
    drawn: Sequence[Mapping[Any, Any]],
) -> Against | None:
    values = measure(labels)
    rows = [
        {"task": task, "value": None if np.isnan(value) else float(value)}
        for task, value in zip(tasks, values, strict=True)
    ]
    found = estimate(rows, "value")
    if found is None:
        return None
    shuffled = [_over(tasks, measure([label[task] for task in tasks])) for label in drawn]
    reached = 1 + sum(each >= found.mean - 1e-12 for each in shuffled)
    low, high = (float(end) for end in np.quantile(shuffled, (0.025, 0.975)))
    return Against(found, float(np.mean(shuffled)), low, high, float(reached / (1 + len(drawn))))


def _over(tasks: Sequence[Any], values: Array) -> float:
    """The mean over tasks of means over their runs, as of `estimate`; NaN is left out."""
    _, codes = np.unique(np.asarray(tasks, dtype=str), return_inverse=True)
    known = ~np.isnan(values)
    counts = np.bincount(codes[known])
    sums = np.bincount(codes[known], values[known])
    return float((sums[counts > 0] / counts[counts > 0]).mean())
