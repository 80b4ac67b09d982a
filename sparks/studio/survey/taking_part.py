"""The pages of participants: consent, one page for each scenario, thanks."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from sparks.studio.survey.choices import Choice, Refused, read_choice, read_made
from sparks.studio.survey.orders import PLACES, Page
from sparks.studio.survey.site import Form, Here, Participant, Site
from sparks.studio.survey.study import video_path

router = APIRouter()

PUBLIC = ("/join/", "/next/", "/page/", "/video/", "/done/")  # those of everyone with a link
DAYS = 60  # that a browser remembers its participant


@router.get("/join/{code}")
def invite(request: Request, site: Here, code: str) -> Response:
    """What will happen; nothing is stored before someone agrees."""
    if site.ballots.ended is not None:
        raise Refused(410, "this study has ended; thank you for coming")
    again = _again(request, site, code) or site.ballots.joined_by(code) is not None
    return site.pages("survey/join.html", study=site.study, code=code, again=again)


@router.post("/join/{code}")
def join(request: Request, site: Here, code: str) -> Response:
    """Someone agrees, or comes back."""
    known = site.who(request) if _again(request, site, code) else None
    number = site.ballots.join(code, site.draw) if known is None else known
    response = _to("/next")
    response.set_cookie(
        site.cookie,
        f"{number}.{site.ballots.token(number)}",
        max_age=DAYS * 24 * 3600,
        httponly=True,
        samesite="strict",
        secure=site.url.startswith("https:"),
    )
    return response


def _again(request: Request, site: Site, code: str) -> bool:
    """Whether this browser's participant came by this very link."""
    number = site.who(request)
    return number is not None and site.ballots.code_of(number) == code


@router.get("/next")
def go_on(site: Here, participant: Participant) -> Response:
    """To the first page that has not been sent."""
    return _onward(site, participant)


@router.get("/page/{number}")
def show(site: Here, participant: Participant, number: int) -> Response:
    """A page as it was left; one that was sent is not shown again."""
    pages, sent = site.ballots.pages(participant), site.ballots.sent(participant)
    _check(number, pages)
    if number - 1 in sent:
        return _onward(site, participant, number)
    choice = site.ballots.show(participant, number - 1)
    return _shown(site, pages, sent, number, choice)


@router.post("/page/{number}/choice")
def choose(site: Here, participant: Participant, number: int, form: Form) -> Response:
    """Keep what has been chosen so far; of two that overtook each other, the one made later."""
    page = _check(number, site.ballots.pages(participant))
    choice = read_choice(form, page, whole=False)
    site.ballots.choose(participant, number - 1, choice, read_made(form))
    return Response(status_code=204)


@router.post("/page/{number}")
def send(site: Here, participant: Participant, number: int, form: Form) -> Response:
    """Keep an answer for good; what is no answer yet is shown again with what is missing."""
    pages = site.ballots.pages(participant)
    page = _check(number, pages)
    try:
        choice = read_choice(form, page)
    except Refused as refused:
        site.ballots.show(participant, number - 1)
        sent = site.ballots.sent(participant)
        return _shown(site, pages, sent, number, _readable(form, page), str(refused))
    site.ballots.answer(participant, number - 1, choice)
    return _onward(site, participant, number)


@router.get("/done")
def done(site: Here, participant: Participant) -> Response:
    """Thanks, or back to what is left."""
    if len(site.ballots.sent(participant)) < len(site.ballots.pages(participant)):
        return _onward(site, participant)
    return site.pages("survey/done.html", study=site.study)


@router.get("/video/{video}")
def video(site: Here, participant: Participant, video: str) -> Response:
    """A video of the study, whole or in part; it never changes."""
    if video not in site.videos:
        raise Refused(404, "there is no such video")
    path, headers = video_path(site.folder, video), {"cache-control": "private, max-age=604800"}
    return FileResponse(path, media_type="video/mp4", headers=headers)


def _to(path: str) -> RedirectResponse:
    return RedirectResponse(path, status_code=303)


def _onward(site: Site, participant: int, after: int = 0) -> Response:
    """To the next page that is open, those before `after` last; or to the end."""
    sent, count = site.ballots.sent(participant), len(site.ballots.pages(participant))
    left = [number for number in _turned(count, after) if number - 1 not in sent]
    return _to(f"/page/{left[0]}" if left else "/done")


def _turned(count: int, after: int) -> list[int]:
    """Numbers from 1 to `count`, beginning with the one behind `after`.

    Examples:
        >>> _turned(4, 2)
        [3, 4, 1, 2]
    """
    return [(after + step) % count + 1 for step in range(count)]


def _check(number: int, pages: list[Page]) -> Page:
    if not 1 <= number <= len(pages):
        raise Refused(404, f"there is no page {number}; there are {len(pages)}")
    return pages[number - 1]


def _readable(form: Sequence[tuple[str, str]], page: Page) -> Choice | None:
    """What of an incomplete answer can be kept on the page."""
    try:
        return read_choice(form, page, whole=False)
    except Refused:
        return None


@dataclass(frozen=True)
class _Candidate:
    letter: str
    video: str
    place: int
    achieved: bool


def _shown(
    site: Site,
    pages: list[Page],
    sent: Set[int],
    number: int,
    choice: Choice | None,
    missing: str | None = None,
) -> Response:
    page = pages[number - 1]
    scenario = site.study.scenario(page.scenario)
    choice = choice or Choice(())
    candidates = [
        _Candidate(letter, video, choice.place(index), index in choice.achieved)
        for index, (letter, video) in enumerate(
            zip(page.letters, page.videos(scenario), strict=True)
        )
    ]
    open_pages = [each for each in range(1, len(pages) + 1) if each - 1 not in sent]
    return site.pages(
        "survey/page.html",
        422 if missing else 200,
        study=site.study,
        number=number,
        now=time.time(),
        count=len(pages),
        sent=sent,
        back=max((each for each in open_pages if each < number), default=None),
        later=min((each for each in open_pages if each > number), default=None),
        scenario=scenario,
        candidates=candidates,
        places=list(zip(PLACES, ("1st", "2nd", "3rd"), strict=True))[: len(page.places)],
        told=[page.letters[index] for index in page.told],
        missing=missing,
    )
