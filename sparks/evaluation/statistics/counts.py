"""What a survey counted, and the paper's four figures of each method: Win, Top-3, Score, Achieved.

A participant who is shown a scenario places up to three methods and ticks those that achieved the
edit. Win is the share of ballots that place a method first, Top-3 the share that place it at all,
Score its mean points (3, 2, 1, or none), all over every ballot. Achieved is the share of ticks
among the ballots that tick anything, which is what the paper's own figures are consistent with, or
among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparks.errors import SparksError

Array = NDArray[np.float64]
Denominator = Literal["any_tick", "all"]

POINTS = np.array([3.0, 2.0, 1.0])  # of the first, second and third place


@dataclass(frozen=True)
class Standing:
    """The four figures of each method, `[..., M]`: shares, and mean points from 0 to 3."""

    win: Array
    top3: Array
    score: Array
    achieved: Array


@dataclass(frozen=True)
class Counts:
    """Places and ticks by scenario.

    Attributes:
        scenarios, methods: names, S and M of them.
        places: `[S, M, 3]`, how often a method was placed first, second and third.
        ticks: `[S, M]`, how often it was said to have achieved the edit.
        ballots: `[S]`, how many participants were shown the scenario.
        answered: `[S]`, how many of them ticked anything.
    """

    scenarios: tuple[str, ...]
    methods: tuple[str, ...]
    places: Array
    ticks: Array
    ballots: Array
    answered: Array

    def standing(
        self, weights: Array | None = None, denominator: Denominator = "any_tick"
    ) -> Standing:
        """The four figures over all scenarios, pooled.

        Args:
            weights: `[..., S]`, how often each scenario is taken; once each by default.
            denominator: of Achieved: ballots that tick anything, or all.
        """
        w = np.ones(len(self.scenarios)) if weights is None else weights
        places = np.einsum("...s,smp->...mp", w, self.places)
        ballots = (w @ self.ballots)[..., None]
        answered = ballots if denominator == "all" else (w @ self.answered)[..., None]
        return Standing(
            places[..., 0] / ballots,
            places.sum(-1) / ballots,
            places @ POINTS / ballots,
            (w @ self.ticks) / np.maximum(answered, 1e-12),
        )

    def by_scenario(self, denominator: Denominator = "any_tick") -> Standing:
        """The four figures of each scenario, `[S, M]`."""
        return self.standing(np.eye(len(self.scenarios)), denominator)


def counts_from_shares(
    scenarios: Sequence[str], methods: Sequence[str], shares: Standing, participants: int
) -> Counts:
    """What was counted, from shares by scenario that were printed with two decimals.

    Args:
        scenarios, methods: names.
        shares: `[S, M]` each, as printed.
        participants: how many ballots each scenario has.

    Raises:
        SparksError: no whole numbers have these shares, or Achieved could be of more than one
            number of participants.
    """
    win, top3, score = (
        np.stack([_whole(row, participants, scenarios[s]) for s, row in enumerate(values)])
        for values in (shares.win, shares.top3, shares.score)
    )
    second = score - 2 * win - top3  # 3 w + 2 s + t = score with w + s + t = top3
    places = np.stack([win, second, top3 - win - second], -1)
    if (places < 0).any():
        wrong = scenarios[int(np.argwhere(places < 0)[0][0])]
        raise SparksError(f"scenario {wrong!r}: no ballots have its Win, Top-3 and Score")
    ticks = enumerate(shares.achieved)
    answered = [_denominator(row, participants, scenarios[s]) for s, row in ticks]
    return Counts(
        tuple(scenarios),
        tuple(methods),
        places,
        np.round(shares.achieved * np.array(answered)[:, None]),
        np.full(len(scenarios), float(participants)),
        np.array(answered, dtype=float),
    )


_HALF = 0.005 + 1e-9  # of the last printed decimal


def _whole(shares: Array, count: int, scenario: str) -> Array:
    whole = np.round(shares * count)
    if (np.abs(whole / count - shares) > _HALF).any():
        raise SparksError(
            f"scenario {scenario!r}: its shares are not those of {count} participants; "
            "say how many there were with --participants"
        )
    return whole


def _denominator(shares: Array, most: int, scenario: str) -> int:
    """How many ticked anything: the only number, of at most `most`, that has all these shares."""
    fits = [
        count
        for count in range(1, most + 1)
        if (np.abs(np.round(shares * count) / count - shares) <= _HALF).all()
    ]
    if len(fits) != 1:
        raise SparksError(
            f"scenario {scenario!r}: Achieved may be of {fits or 'no number of'} participants; "
            "give a table of ballots instead"
        )
    return fits[0]
