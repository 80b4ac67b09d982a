"""How well a study goes: counts and carefulness, and nothing of which method is liked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from sparks.studio.survey.ballots import Answer, Ballots
from sparks.studio.survey.choices import attentive
from sparks.studio.survey.study import LETTERS, Study


@dataclass(frozen=True)
class Participant:
    """How one participant answers.

    Attributes:
        number: from 0.
        joined: when, in seconds since 1970.
        answered, of: scenarios that were sent, and that are to be; attention checks do not count.
        median: seconds of an answer, None before the first.
        hasty: whether that is less than the study asks for.
        attentive: whether the attention check was passed; None before it was sent.
        favourite: the largest share of first places that one letter has: 1 may be a habit.
    """

    number: int
    joined: float
    answered: int
    of: int
    median: float | None
    hasty: bool
    attentive: bool | None
    favourite: float

    @property
    def finished(self) -> bool:
        """Whether everything was sent."""
        return self.answered == self.of


@dataclass(frozen=True)
class Quality:
    """A study at a glance.

    Attributes:
        people: all who have joined.
        first: how many first places each letter has: equal shares if the place does not matter.
        answers: how many answers each scenario has.
    """

    people: list[Participant]
    first: dict[str, int]
    answers: dict[str, int]

    @property
    def finished(self) -> int:
        """Participants who have sent everything."""
        return sum(one.finished for one in self.people)

    @property
    def hasty(self) -> int:
        """Participants whose median answer is too fast."""
        return sum(one.hasty for one in self.people)

    @property
    def inattentive(self) -> int:
        """Participants who failed the attention check."""
        return sum(one.attentive is False for one in self.people)

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"{len(self.people)} participants, {self.finished} finished, "
            f"{sum(self.answers.values())} answers; {self.hasty} hasty, {self.inattentive} failed "
            "the attention check"
        )

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        counts = {"finished": self.finished, "hasty": self.hasty, "inattentive": self.inattentive}
        return counts | asdict(self)


def quality(study: Study, ballots: Ballots) -> Quality:
    """Everything that may be known while a study goes on."""
    real = [answer for answer in ballots.answers() if not answer.shown.told]
    firsts = [answer.choice.places[0] for answer in real]
    letters = LETTERS[: study.candidates]
    return Quality(
        participants(study, ballots),
        {letter: firsts.count(index) for index, letter in enumerate(letters)},
        {
            each.name: sum(answer.shown.scenario == each.name for answer in real)
            for each in study.scenarios
        },
    )


def participants(study: Study, ballots: Ballots) -> list[Participant]:
    """Each one's carefulness."""
    per_person: dict[int, list[Answer]] = {}
    for answer in ballots.answers():
        per_person.setdefault(answer.participant, []).append(answer)
    return [
        _participant(study, number, joined, sum(not p.told for p in pages), per_person.get(number))
        for number, (joined, pages) in enumerate(ballots.participants())
    ]


def _participant(
    study: Study, number: int, joined: float, of: int, answers: Sequence[Answer] | None
) -> Participant:
    real = [answer for answer in answers or () if not answer.shown.told]
    checks = [answer for answer in answers or () if answer.shown.told]
    firsts = [answer.choice.places[0] for answer in real]
    middle = median(answer.seconds for answer in real) if real else None
    return Participant(
        number,
        joined,
        len(real),
        of,
        middle,
        middle is not None and middle < study.hasty,
        attentive(checks[0].shown, checks[0].choice) if checks else None,
        max(map(firsts.count, firsts), default=0) / max(1, len(firsts)),
    )
