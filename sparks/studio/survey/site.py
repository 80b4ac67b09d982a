"""What all pages of a survey share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request

from sparks.studio.door import Door
from sparks.studio.server import Pages
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.choices import Refused
from sparks.studio.survey.export import export, name
from sparks.studio.survey.orders import Page, draw
from sparks.studio.survey.study import Study

if TYPE_CHECKING:
    from sparks.evaluation.statistics.report import Section

FIELDS = 100  # of a form, at the most


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


@dataclass(frozen=True)
class Site:
    """A study that is being served.

    Attributes:
        folder: of the study.
        door: where, and by which token the researcher comes in.
        url: how participants reach it, without a `/` at the end.
    """

    folder: Path
    study: Study
    ballots: Ballots
    door: Door
    url: str
    pages: Pages = field(default_factory=lambda: Pages(filters={"day": _day, "participant": name}))
    _computing: Lock = field(default_factory=Lock)

    def draw(self, participant: int) -> list[Page]:
        """What a new participant is to see."""
        return draw(self.study, participant)

    @cached_property
    def videos(self) -> set[str]:
        """Names of all files that there are."""
        return self.study.videos

    def result(self) -> list[Section]:
        """What `sparks stats` says, once the study has ended; found once, in a while.

        Raises:
            SparksError: the study goes on, or nobody has answered.
        """
        with self._computing:
            return self._result

    @cached_property
    def _result(self) -> list[Section]:
        from sparks.evaluation.statistics.report import report

        with TemporaryDirectory() as place:  # what was exported into the study stays as it is
            return report(str(export(self.folder, Path(place)).votes))

    @property
    def cookie(self) -> str:
        """The name of that of participants."""
        return f"{self.door.cookie}-participant"

    def who(self, request: Request) -> int | None:
        """The number of the participant who sent a request; None for anyone else."""
        cookie = re.fullmatch(
            r"(\d{1,9})\.([0-9a-f]{32})", request.cookies.get(self.cookie, ""), re.ASCII
        )
        if cookie and self.ballots.is_token(int(cookie[1]), cookie[2]):
            return int(cookie[1])
        return None


async def _here(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_here)]


async def _who(request: Request, site: Here) -> int:
    if (number := site.who(request)) is None:
        raise Refused(403, "open the link that you were given; this browser does not know it")
    return number


Participant = Annotated[int, Depends(_who)]


async def _form(request: Request) -> list[tuple[str, str]]:
    try:
        text = (await request.body()).decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS)
    except ValueError:
        raise Refused(422, "this is no form of this study") from None


Form = Annotated[list[tuple[str, str]], Depends(_form)]
