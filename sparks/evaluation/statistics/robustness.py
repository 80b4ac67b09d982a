"""Would the survey say the same without any one of its participants?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparks.evaluation.statistics.counts import Denominator, Standing
from sparks.evaluation.statistics.votes import Votes


@dataclass(frozen=True)
class LeaveOneOut:
    """The four figures' least and greatest values, `[M]`, and how often the best stays the best."""

    low: Standing
    high: Standing
    same_best: int
    participants: int


def leave_one_out(votes: Votes, denominator: Denominator = "any_tick") -> LeaveOneOut:
    """Every survey with one participant less."""
    count = len(votes.participants)
    without = [
        votes.counts(1 - np.eye(count)[person]).standing(None, denominator)
        for person in range(count)
    ]
    low, high = (
        Standing(
            **{
                name: end([getattr(each, name) for each in without], axis=0)
                for name in Standing.__dataclass_fields__
            }
        )
        for end in (np.min, np.max)
    )
    best = votes.counts().standing().score.argmax()
    same = sum(int(each.score.argmax() == best) for each in without)
    return LeaveOneOut(low, high, same, count)
