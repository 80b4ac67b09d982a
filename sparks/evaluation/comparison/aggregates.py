"""One number for an edit, in three ways, and preservation among the edits that achieved anything.

The paper's overall adds up its axes, so that an edit that does nothing is paid for preserving all.
Capped, no axis counts for more than the first (as OpenVE-Bench has it); geometric, the weighted
mean of logarithms with the first axis' weight doubled (as VEFX-Bench has it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sparks.evaluation.judge.judging import Judged
from sparks.evaluation.judge.rubric import Rubric

LEAST = 0.1  # points that a geometric mean takes for none, which would make all others nothing
ALPHA = 2.0  # times the weight of the first axis, in the geometric mean


def capped(scores: Mapping[str, float], rubric: Rubric) -> float:
    """The overall with every axis cut at the points for the first one."""
    first = scores[next(iter(rubric.axes))]
    return rubric.overall({name: min(value, first) for name, value in scores.items()})


def geometric(scores: Mapping[str, float], rubric: Rubric) -> float:
    """The weighted geometric mean, the first axis weighing ALPHA times its share."""
    first = next(iter(rubric.axes))
    weights = {n: axis.weight * (ALPHA if n == first else 1) for n, axis in rubric.axes.items()}
    logs = {name: math.log(max(scores[name], LEAST)) for name in weights}
    return math.exp(sum(weights[n] * logs[n] for n in weights) / sum(weights.values()))


def preservation_axis(rubric: Rubric) -> str:
    """The axis that is about the source."""
    return next(name for name in rubric.axes if "preservation" in name)


def preserved_if_achieved(judged: Sequence[Judged], rubric: Rubric) -> tuple[float, int] | None:
    """Mean points for preservation of the edits that achieved the task, and how many those are."""
    axis = preservation_axis(rubric)
    points = [each.scores[axis] for each in judged if each.achieved > 0.5]
    return (sum(points) / len(points), len(points)) if points else None
