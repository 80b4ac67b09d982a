"""Ballots of a survey: who placed which method where, and which achieved the edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sparks.errors import SparksError
from sparks.evaluation.statistics.counts import Array, Counts

Choice = tuple[int, list[int]]  # a method, and those it was preferred to
COLUMNS = ("participant", "scenario", "method", "place", "achieved")  # and `seconds`, if measured


@dataclass(frozen=True)
class Votes:
    """All ballots; NaN where a participant was not shown a scenario or a method of it.

    Attributes:
        participants, scenarios, methods: names; P, S and M of them.
        place: `[P, S, M]`, 1 to 3, or 0 for a method that was not placed.
        achieved: `[P, S, M]`, 1 if the participant ticked it.
        seconds: `[P, S]`, how long the ballot took, NaN where that is unknown.
    """

    participants: tuple[str, ...]
    scenarios: tuple[str, ...]
    methods: tuple[str, ...]
    place: Array
    achieved: Array
    seconds: Array

    @property
    def shown(self) -> Array:
        """`[P, S]`: 1 where there is a ballot."""
        return (~np.isnan(self.place)).any(-1).astype(float)

    @property
    def points(self) -> Array:
        """`[P, S, M]`: 3, 2, 1 or 0, NaN where there is no ballot."""
        return np.where(self.place == 0, 0.0, 4 - self.place)

    def counts(self, weights: Array | None = None) -> Counts:
        """By scenario, participant p counted `weights[p]` times."""
        w = np.ones(len(self.participants)) if weights is None else weights
        ticked = np.nan_to_num(self.achieved)
        places = np.stack([self.place == place for place in (1, 2, 3)], -1).astype(float)
        return Counts(
            self.scenarios,
            self.methods,
            np.einsum("p,psmk->smk", w, places),
            np.einsum("p,psm->sm", w, ticked),
            w @ self.shown,
            w @ ticked.any(-1),
        )

    def of(self, chosen: Sequence[int]) -> Votes:
        """Those of some participants, by their index."""
        rows = list(chosen)
        return replace(
            self,
            participants=tuple(self.participants[p] for p in rows),
            place=self.place[rows],
            achieved=self.achieved[rows],
            seconds=self.seconds[rows],
        )

    def choices(self) -> list[tuple[int, int, list[Choice]]]:
        """Of each ballot its participant, its scenario, and the choices it stands for.

        The first is chosen among all that were shown, the second among the others, and so on.
        """
        return [
            (int(p), int(s), _choices(self.place[p, s]))
            for p, s in zip(*np.nonzero(self.shown), strict=True)
        ]


def _choices(place: Array) -> list[Choice]:
    left = [int(m) for m in np.flatnonzero(~np.isnan(place))]
    choices = []
    for rank in (1, 2, 3):
        for method in np.flatnonzero(place == rank):
            left.remove(int(method))
            if left:
                choices.append((int(method), list(left)))
    return choices


def without_hasty(votes: Votes, seconds: float) -> tuple[Votes, list[str]]:
    """The votes without those whose median ballot took less than `seconds`, and who they are.

    Raises:
        SparksError: nobody's time is known, or nobody would be left.
    """
    if np.isnan(votes.seconds).all():
        raise SparksError("the table has no column seconds, so nobody can be found hasty")
    timed = [row[~np.isnan(row)] for row in votes.seconds]
    hasty = [len(times) > 0 and float(np.median(times)) < seconds for times in timed]
    if all(hasty):
        raise SparksError(f"all {len(hasty)} participants are below {seconds:g} s; say less")
    patient = [p for p, fast in enumerate(hasty) if not fast]
    return votes.of(patient), [
        name for name, fast in zip(votes.participants, hasty, strict=True) if fast
    ]


def read_votes(rows: Sequence[Mapping[str, Any]], where: str) -> Votes:
    """Ballots from one row per participant, scenario and method.

    Args:
        rows: with COLUMNS, and `seconds` if measured; `place` empty or 0 for a method not placed.
        where: named in errors.

    Raises:
        SparksError: a cell that cannot be, or a ballot that has a place twice.
    """
    names = [tuple(dict.fromkeys(str(row[key]) for row in rows)) for key in COLUMNS[:3]]
    index = [{name: number for number, name in enumerate(kind)} for kind in names]
    place = np.full([len(kind) for kind in names], np.nan)
    achieved, seconds = place.copy(), place[..., 0].copy()
    for line, row in enumerate(rows, 2):
        p, s, m = (kind[str(row[key])] for kind, key in zip(index, COLUMNS[:3], strict=True))
        said = _number(row, "place", where, line, range(4))
        if not np.isnan(place[p, s, m]) or (said and said in place[p, s]):
            raise SparksError(f"{where} line {line}: a method or place twice in one ballot")
        place[p, s, m] = said
        achieved[p, s, m] = _number(row, "achieved", where, line, range(2))
        if row.get("seconds"):
            seconds[p, s] = float(row["seconds"])
    return Votes(names[0], names[1], names[2], place, achieved, seconds)


_WORDS = {"": 0, "true": 1, "false": 0, "yes": 1, "no": 0}


def _number(row: Mapping[str, Any], key: str, where: str, line: int, allowed: range) -> int:
    text = str(row[key]).strip().lower()
    value = _WORDS.get(text, int(text) if text.isdigit() else -1)
    if value not in allowed:
        raise SparksError(
            f"{where} line {line}: {key} is {row[key]!r}; write 0 to {allowed[-1]}, or nothing"
        )
    return value
