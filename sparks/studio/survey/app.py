"""The server of one study: what participants and the researcher see, behind one door."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sparks.errors import SparksError
from sparks.studio.door import Door
from sparks.studio.server import create_app, serve
from sparks.studio.survey import taking_part, watching
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.choices import Refused
from sparks.studio.survey.export import invited
from sparks.studio.survey.site import Site
from sparks.studio.survey.study import read_study

SHOWN = 3  # links that are told on the terminal
RESEARCHER = "researcher"  # whose token opens the page of counts


def survey_app(site: Site) -> FastAPI:
    """The application of a study.

    Participants are known by a cookie that a link of the study gave them, the researcher by the
    token of the door.
    """
    app = create_app(site.door)
    app.state.site = site
    app.include_router(taking_part.router)
    app.include_router(watching.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(sqlite3.Error, _not_stored)
    return app


def serve_study(folder: Path, address: str, port: int, url: str | None = None) -> None:
    """Serve the study in `folder` until Ctrl-C.

    Args:
        address, port: where to listen.
        url: how participants reach it, if that is another address: `https://study.example.org`.

    Raises:
        SparksError: no study, or an address that cannot be had.
    """
    study = read_study(folder)
    host = urlsplit(url or "").hostname
    if url and not host:
        raise SparksError(f"--url is {url!r}; write it as https://study.example.org")
    with Ballots(folder) as ballots:
        token = ballots.token(RESEARCHER)
        door = Door(address, port, token, (host,) if host else (), taking_part.PUBLIC)
        site = Site(folder, study, ballots, door, (url or door.url.partition("?")[0]).rstrip("/"))
        serve(survey_app(site), door, lambda _: print(_told(site), flush=True))


def _told(site: Site) -> str:
    links = [row["link"] for row in invited(site.ballots, site.url)]
    mine = f"Your page: {site.url}/?token={site.door.token}"
    lines = [mine, "Participants:", *(f"  {link}" for link in links[:SHOWN])]
    if len(links) > SHOWN:
        lines.append(f"  and {len(links) - SHOWN} more: sparks survey links {site.folder}")
    return "\n".join(lines)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _says(request, error.status, str(error))


def _not_stored(request: Request, error: Exception) -> Response:
    """The disk is full, or another process writes: what came was not acknowledged."""
    return _says(request, 503, f"this was not stored; go back and send it again ({error})")


def _says(request: Request, status: int, why: str) -> Response:
    if request.headers.get("sec-fetch-mode") == "navigate":
        site: Site = request.app.state.site
        return site.pages("survey/refused.html", status, study=site.study, status=status, why=why)
    return PlainTextResponse(f"{why}\n", status)
