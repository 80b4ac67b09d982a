"""Answers as tables: `votes.csv` is what `sparks stats` reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.evaluation.statistics.tables import csv_text
from sparks.files import write_text
from sparks.studio.survey.ballots import Answer, Ballots
from sparks.studio.survey.quality import Participant, participants
from sparks.studio.survey.study import read_study

VOTES, PEOPLE = "votes.csv", "participants.csv"


@dataclass(frozen=True)
class Exported:
    """What was written: the tables' paths, and how many of what they hold."""

    votes: Path
    people: Path
    answers: int
    participants: int
    inattentive: int  # participants left out

    @property
    def text(self) -> str:
        """In words."""
        left_out = f"; {self.inattentive} inattentive left out" if self.inattentive else ""
        return (
            f"{self.answers} answers of {self.participants} participants{left_out}.\n"
            f"Written to {self.votes} and {self.people}; see sparks stats {self.votes}."
        )


def export(folder: Path, output: Path | None = None, *, attentive: bool = False) -> Exported:
    """Write the answers of an ended study to `output`, by default into its own folder.

    Args:
        folder: of the study.
        output: folder for votes.csv and participants.csv.
        attentive: leave out who failed the attention check.

    Raises:
        SparksError: the study goes on, so that nobody may know yet who leads; or nothing was
            answered.
    """
    study, output = read_study(folder), output or folder
    with Ballots(folder) as ballots:
        if ballots.ended is None:
            raise SparksError(f"{folder} goes on; end it first with sparks survey close {folder}")
        people, answers = participants(study, ballots), ballots.answers()
    failed = {one.number for one in people if one.attentive is False} if attentive else set()
    rows = list(votes(one for one in answers if one.participant not in failed))
    if not rows:
        raise SparksError(f"{folder} has no answers")
    write_text(output / VOTES, csv_text(rows))
    write_text(output / PEOPLE, csv_text([_person(one) for one in people]))
    who = {(row["participant"], row["scenario"]) for row in rows}
    return Exported(
        output / VOTES, output / PEOPLE, len(who), len({one for one, _ in who}), len(failed)
    )


def votes(answers: Iterable[Answer]) -> Iterable[dict[str, Any]]:
    """A row for each participant, scenario and method; attention checks have none."""
    for answer in answers:
        if answer.shown.told:
            continue
        for index, method in enumerate(answer.shown.candidates):
            yield {
                "participant": name(answer.participant),
                "scenario": answer.shown.scenario,
                "method": method,
                "place": answer.choice.place(index) or "",
                "achieved": int(index in answer.choice.achieved),
                "seconds": round(answer.seconds, 2),
                "position": index + 1,
                "page": answer.page + 1,
                "time": moment(answer.time),
            }


def invited(ballots: Ballots, url: str) -> list[dict[str, Any]]:
    """The links of a study that is reached at `url`: for how many each is, how many came by it."""
    return [
        {"link": f"{url}/join/{link.code}", "for": link.uses, "joined": link.joined}
        for link in ballots.links()
    ]


def _person(one: Participant) -> dict[str, Any]:
    return {
        "participant": name(one.number),
        "joined": moment(one.joined),
        "answered": one.answered,
        "of": one.of,
        "median_seconds": "" if one.median is None else round(one.median, 2),
        "hasty": int(one.hasty),
        "attentive": "" if one.attentive is None else int(one.attentive),
    }


def name(participant: int) -> str:
    """A participant's name in tables."""
    return f"P{participant + 1:03d}"


def moment(seconds: float) -> str:
    """Seconds since 1970 as a date and time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
