"""The pages of `sparks studio`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import FastAPI, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from sparks.errors import SparksError
from sparks.studio.door import Door
from sparks.studio.edits.chart import chart
from sparks.studio.edits.clips import bundled_tasks
from sparks.studio.edits.index import RUNS, Entry
from sparks.studio.edits.jobs import Job
from sparks.studio.edits.studio import HIDDEN, Studio, solvers
from sparks.studio.edits.view import ago, span, star
from sparks.studio.places import file_response
from sparks.studio.server import Pages, create_app
from sparks.studio.uploads import receive

MOST_UPLOADED = 512 * 2**20  # bytes
_PAGE = 48  # runs
_LOOK = 0.7  # seconds between two looks at a run
_RECENT = 6  # jobs that are over, beside those that are not

Path_ = Annotated[str, Form()]


def create_studio(studio: Studio, door: Door) -> FastAPI:
    """The application of a studio behind a door."""
    app = create_app(door)
    pages = Pages(
        filters={"span": span, "ago": ago, "link": lambda text: quote(str(text)), "p": _p},
        shared={"brand": "sparks", "folder": studio.root.name},
    )
    _show(app, studio, pages)
    _make(app, studio, pages)
    _serve_files(app, studio)
    return app


def _show(app: FastAPI, studio: Studio, pages: Pages) -> None:
    """Pages, and the parts of them that are asked for again."""

    @app.get("/")
    def home(q: str = "") -> HTMLResponse:
        return pages("edits/home.html", **_listed(studio, q, 0), **_queue(studio))

    @app.get("/parts/queue")
    def queue() -> HTMLResponse:
        return pages("edits/queue.html", **_queue(studio))

    @app.get("/parts/runs")
    def runs(q: str = "", skip: Annotated[int, Query(ge=0)] = 0) -> HTMLResponse:
        return pages("edits/runs.html", **_listed(studio, q, skip))

    @app.get("/experiments")
    def experiments() -> HTMLResponse:
        found = [e for e in studio.index.entries() if e.kind in ("experiment", "comparison")]
        counts = {e.path: _cells(studio.index.entries(), e.path) for e in found}
        return pages("edits/experiments.html", experiments=found, counts=counts)

    @app.get("/new")
    def new(like: str | None = None) -> HTMLResponse:
        return pages("edits/new.html", **_form(studio, like))

    @app.get("/runs/{path:path}")
    def run(path: str) -> HTMLResponse:
        try:
            view = studio.view(path)
        except SparksError as error:
            raise HTTPException(404, str(error)) from None
        clips = studio.clips.all()
        return pages("edits/run.html", view=view, chart=chart(view.rows), clips=clips)

    @app.get("/live/{path:path}")
    async def live(path: str, request: Request) -> StreamingResponse:
        def parts() -> dict[str, str]:
            view = studio.view(path)
            given: dict[str, Any] = {"view": view, "chart": chart(view.rows)}
            names = ("state", "videos", "candidates", "evaluations", "downloads", "log")
            return {name: pages.text(f"edits/{name}.html", **given) for name in names}

        return StreamingResponse(
            _stream(parts, request),
            media_type="text/event-stream",
            headers={"x-accel-buffering": "no"},
        )


async def _stream(parts: Any, request: Request) -> AsyncIterator[str]:
    """What has changed of the parts of a page, as it changes."""
    sent: dict[str, str] = {}
    while not await request.is_disconnected():
        try:
            now = await run_in_threadpool(parts)
        except SparksError:  # the run was removed
            return
        changed = {name: text for name, text in now.items() if sent.get(name) != text}
        if changed:
            yield f"data: {json.dumps(changed)}\n\n"
            sent |= changed
        else:
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK)


def _make(app: FastAPI, studio: Studio, pages: Pages) -> None:
    """What changes something: posts, which only pages of this server can send."""

    @app.post("/clips")
    async def upload(request: Request) -> Response:
        name = unquote(request.headers.get("x-file-name", "clip"))
        path, digest = await receive(request, studio.own / "incoming", MOST_UPLOADED)
        clip = await run_in_threadpool(studio.clips.add, path, digest, name)
        return JSONResponse({"id": clip.id})

    @app.post("/clips/bundled")
    def bundled(name: Annotated[str, Form()]) -> Response:
        return JSONResponse({"id": studio.bundled(name)})

    @app.post("/check")
    async def check(request: Request) -> HTMLResponse:
        form = await _fields(request)
        verdict = await run_in_threadpool(studio.check, form)
        return pages("edits/verdict.html", verdict=verdict)

    @app.post("/edits")
    async def edits(request: Request) -> Response:
        job = await run_in_threadpool(studio.add, await _fields(request))
        return _to_run(job.run)

    @app.post("/jobs/{id}/{what}")
    def job(id: str, what: str) -> HTMLResponse:
        if what == "stop":
            studio.queue.stop(id)
        elif what in ("up", "down"):
            studio.queue.move(id, -1 if what == "up" else 1)
        elif what == "again":
            studio.queue.again(id)
        else:
            raise HTTPException(404, "there is no such thing to do")
        return pages("edits/queue.html", **_queue(studio))

    @app.post("/do/resume")
    def resume(run: Path_) -> Response:
        return _to_run(studio.go_on(run).run)

    @app.post("/do/render")
    def render(run: Path_, evaluation: Annotated[list[int], Form()]) -> Response:
        studio.render(run, evaluation)
        return _to_run(run)

    @app.post("/do/pick")
    def pick(run: Path_, evaluation: Annotated[int, Form()]) -> Response:
        studio.pick(run, evaluation)
        return _to_run(run)

    @app.post("/do/star")
    def mark(run: Path_, evaluation: Annotated[int, Form()]) -> Response:
        star(studio.run(run), evaluation, studio.count(run))
        return _to_run(run)

    @app.post("/do/transfer")
    def transfer(
        run: Path_,
        clip: Annotated[str, Form()],
        prompt: Annotated[str, Form()],
        static_prompt: Annotated[str, Form()] = "",
    ) -> Response:
        return _to_run(studio.transfer(run, clip, prompt, static_prompt).run)


def _serve_files(app: FastAPI, studio: Studio) -> None:
    @app.get("/files/{path:path}")
    def files(path: str, save: bool = False) -> FileResponse:
        name = "-".join(path.split("/")[-2:]) if save else None
        return file_response(studio.root, path, save_as=name)

    @app.get("/clips/{id}/{name}")
    def clips(id: str, name: str) -> FileResponse:
        if name not in ("shown.mp4", "strip.jpg"):
            raise HTTPException(404, "there is no such file")
        return file_response(studio.clips.get(id).folder, name)

    assert HIDDEN.startswith(".")  # hidden files are not given out


async def _fields(request: Request) -> dict[str, str]:
    form = await request.form(max_files=0, max_fields=60)
    return {name: value for name, value in form.items() if isinstance(value, str)}


def _to_run(path: str) -> Response:
    return RedirectResponse(f"/runs/{quote(path)}", 303)


def _queue(studio: Studio) -> dict[str, Any]:
    jobs = studio.queue.jobs()
    over = [job for job in jobs if job.over][:_RECENT]
    rows = [job for job in jobs if not job.over]
    progress = {job.id: _progress(studio, job) for job in rows if job.state == "running"}
    return {"jobs": rows, "over": over, "progress": progress, "devices": studio.queue.devices}


def _progress(studio: Studio, job: Job) -> Any:
    try:
        return studio.view(job.run).progress
    except SparksError:
        return None


def _listed(studio: Studio, query: str, skip: int) -> dict[str, Any]:
    """Single edits; with a query, those of experiments as well."""
    found = [
        entry
        for entry in studio.index.entries(query)
        if entry.kind in RUNS and (query or not entry.inside)
    ]
    shown = found[skip : skip + _PAGE]
    more = skip + _PAGE if len(found) > skip + _PAGE else None
    return {"entries": shown, "count": len(found), "query": query, "more": more, "skip": skip}


def _cells(entries: list[Entry], path: str) -> tuple[int, int]:
    """How many runs of an experiment are finished, and how many there are."""
    cells = [entry for entry in entries if entry.inside == path]
    return sum(entry.state == "finished" for entry in cells), len(cells)


def _form(studio: Studio, like: str | None) -> dict[str, Any]:
    models = studio.models()
    facts = {
        model.name: {
            "fps": model.clip.get("fps"),
            "frames": model.clip.get("num_frames"),
            "compression": model.compression,
            "words": model.words,
        }
        for model in models
    }
    return {
        "models": models,
        "facts": json.dumps(facts),
        "clips": studio.clips.all(),
        "bundled": list(bundled_tasks()),
        "solvers": solvers(),
        "like": studio.filled(like),
        "findings": studio.doctor.findings,
        "most": MOST_UPLOADED // 2**20,
    }


def _p(value: float | None) -> str:
    """P(yes) in two digits."""
    return "–" if value is None else f"{value:.2f}"
