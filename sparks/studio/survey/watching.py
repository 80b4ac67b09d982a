"""The researcher's page: how a study goes, its links, its end, and after that its result."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from sparks.errors import SparksError
from sparks.evaluation.statistics.tables import csv_text
from sparks.studio.survey.choices import Refused
from sparks.studio.survey.export import PEOPLE, VOTES, export, invited
from sparks.studio.survey.quality import quality
from sparks.studio.survey.site import Here

router = APIRouter()


@router.get("/")
def watch(site: Here) -> Response:
    """Counts and quality; nothing of which method is liked before the study has ended."""
    return site.pages(
        "survey/watch.html",
        study=site.study,
        links=invited(site.ballots, site.url),
        quality=quality(site.study, site.ballots),
        ended=site.ballots.ended,
    )


@router.get("/result")
def result(site: Here) -> Response:
    """What `sparks stats` says of a study that has ended, or why it cannot say anything."""
    try:
        sections, why = site.result(), ""
    except SparksError as error:
        sections, why = [], str(error)
    return site.pages("survey/result.html", study=site.study, sections=sections, why=why)


@router.post("/end")
def end(site: Here) -> Response:
    """Take no more answers, for good."""
    site.ballots.end()
    return RedirectResponse("/", status_code=303)


@router.get("/links.csv")
def links(site: Here) -> Response:
    """Every link, for how many it is and how many came by it."""
    return _saved(csv_text(invited(site.ballots, site.url)), "links.csv")


@router.get("/tables/{table}")
def tables(site: Here, table: str) -> Response:
    """votes.csv or participants.csv of a study that has ended."""
    if table not in (VOTES, PEOPLE):
        raise Refused(404, f"there is no such table; there are {VOTES} and {PEOPLE}")
    with TemporaryDirectory() as place:
        export(site.folder, Path(place))
        return _saved((Path(place) / table).read_text(encoding="utf-8"), table)


def _saved(text: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, headers=headers, media_type="text/csv")
