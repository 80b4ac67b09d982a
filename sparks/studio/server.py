"""The server that studio and survey share: its rules, its pages, its way of saying no."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from sparks.errors import SparksError, shorten
from sparks.studio.door import Door, Guard

_HERE = Path(__file__).parent
LAST_WORDS = 2  # seconds that open pages get when the server ends


def create_app(door: Door) -> FastAPI:
    """An application without pages behind a door: every request is held to its rules.

    What it has: `/static/` with the package's files, and errors as pages or lines. Routes are
    added by those who use it.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, door=door)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    app.add_exception_handler(SparksError, _mistake)
    app.add_exception_handler(RequestValidationError, _incomplete)
    app.add_exception_handler(HTTPException, _refused)
    return app


class Pages:
    """Templates of `sparks/studio/templates`, in which every value is escaped.

    Args:
        filters: functions by the names that templates call them by.
        shared: values that every template sees.
    """

    def __init__(
        self,
        filters: Mapping[str, Callable[..., Any]] | None = None,
        shared: Mapping[str, Any] | None = None,
    ) -> None:
        self.environment = Environment(
            loader=PackageLoader("sparks.studio", "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= filters or {}
        self.environment.globals |= shared or {}

    def text(self, template: str, **values: Any) -> str:
        """A template with its values."""
        return self.environment.get_template(template).render(values)

    def __call__(self, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
        """A template with its values, as a response."""
        return HTMLResponse(self.text(template, **values), status_code)


_ERRORS = Pages(shared={"brand": "sparks"})


def _says(request: Request, status: int, why: str) -> Response:
    """A page for who came by an address or a link, a line for scripts."""
    if request.headers.get("sec-fetch-mode") == "navigate":
        return _ERRORS("error.html", status, status=status, why=why)
    return PlainTextResponse(f"{why}\n", status)


async def _mistake(request: Request, error: Exception) -> Response:
    return _says(request, 400, str(error))


async def _incomplete(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = ", ".join(str(each["loc"][-1]) for each in error.errors())
    return _says(request, 422, f"missing or not what it should be: {shorten(fields)}")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _says(request, error.status_code, str(error.detail))


def serve(app: FastAPI, door: Door, told: Callable[[str], None] = print) -> None:
    """Answer until Ctrl-C or SIGTERM.

    Args:
        told: is given the address once somebody listens there.

    Raises:
        SparksError: the address cannot be had.
    """
    config = uvicorn.Config(
        app,
        door.address,
        door.port,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_WORDS,
    )
    try:
        listener = config.bind_socket()
    except (OSError, SystemExit) as error:
        raise SparksError(
            f"cannot listen at {door.address}, port {door.port}; choose another --port"
        ) from error
    listener.listen()  # whoever comes now is answered once the server runs
    told(door.url)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(listener):
        uvicorn.Server(config).run(sockets=[listener])
