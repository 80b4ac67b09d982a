"""Who may come in: what every request is held to before anything is done for it."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sparks.errors import SparksError

MOST_BYTES = 2**20  # of a request's body, unless its path says otherwise
_HOST = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]+)|\[(?P<six>[0-9A-Fa-f:.]+)\])(?::[0-9]+)?")
_READS = ("GET", "HEAD", "OPTIONS")
# Scripts and styles are files of the package: what a prompt, a name or a vote holds never runs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with that, browsers send the origin of a form as `null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Door:
    """Where a server listens, and what it asks of those who come.

    Attributes:
        address, port: where; loopback unless asked otherwise.
        token: what everyone must know; needed for another address.
        hosts: names under which the server is reached, besides its address.
        public: beginnings of paths for which no token is asked, each with its `/` at the end.
        limits: bytes of a request's body, for beginnings of paths that may have more.

    Raises:
        SparksError: another address without a token.
    """

    address: str = "127.0.0.1"
    port: int = 8040
    token: str | None = None
    hosts: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.loopback and not self.token:
            raise SparksError(
                f"{self.address} can be reached from other machines; give a token, or leave the "
                "address out and come by ssh -L"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine gets there."""
        if self.address == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            return False

    @property
    def cookie(self) -> str:
        """Its name: cookies are shared by the ports of a machine."""
        return f"sparks-{self.port}"

    @property
    def url(self) -> str:
        """What to open in a browser, with the token."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        query = f"?{urlencode({'token': self.token})}" if self.token else ""
        return f"http://{host}:{self.port}/{query}"

    def knows(self, host: str) -> bool:
        """Whether a request that names `host` is meant for this server.

        A page of elsewhere whose name is turned to this machine (DNS rebinding) names its own.
        Where a token is asked for on an open address, that keeps it out.
        """
        written = _HOST.fullmatch(host)
        name = (written["name"] or written["six"]).lower() if written else ""
        named = {self.address, *self.hosts}
        if self.loopback:
            return name in named | {"localhost", "127.0.0.1", "::1"}
        return bool(name) and (not self.hosts or name in named)

    def is_key(self, text: str | None) -> bool:
        """Whether `text` is the token, taking as long for every answer."""
        return hmac.compare_digest((text or "").encode(), (self.token or "").encode())

    def limit(self, path: str) -> int:
        """Bytes that a request to `path` may bring."""
        fitting = [size for start, size in self.limits.items() if path.startswith(start)]
        return max(fitting, default=MOST_BYTES)


class Guard:
    """Turns away what does not keep to the rules of a door; sets headers on all that goes out."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of an ASGI application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there is no socket to talk to here
        request = Request(scope)
        answer = _refusal(request, self.door) or _introduction(request, self.door)
        await (answer or self.app)(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _refusal(request: Request, door: Door) -> Response | None:
    host = request.headers.get("host", "")
    if not door.knows(host):
        return _no(421, "this server goes by another name; see --host")
    if request.method not in _READS:
        if not _of_ours(request, host):
            return _no(403, "sent by another site")
        length = request.headers.get("content-length", "")
        if "transfer-encoding" in request.headers or not length.isascii() or not length.isdigit():
            return _no(411, "say how long it is (Content-Length)")
        if int(length) > (most := door.limit(request.scope["path"])):
            return _no(413, f"larger than the {most // 2**20} MiB that are taken here")
    return None


def _of_ours(request: Request, host: str) -> bool:
    """Whether a page of this server sent it; or a program, which brings the token itself."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is None:
        return "authorization" in request.headers
    ours = origin is None or origin in (f"http://{host}", f"https://{host}")
    return ours and site in (None, "same-origin")


def _introduction(request: Request, door: Door) -> Response | None:
    """None for who is known; a cookie for who brings the token in the address."""
    path = request.scope["path"]  # `request.url` has the host in it, which anyone can write
    public = ("/static/", *door.public)
    if door.token is None or any(f"{path}/".startswith(start) for start in public):
        return None
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and door.is_key(key.strip()):
        return None
    if door.is_key(request.cookies.get(door.cookie)):
        return None
    if request.method == "GET" and door.is_key(request.query_params.get("token")):
        return _welcome(path, door)
    return _no(401, "this page needs the token that the server printed: /?token=...")


def _welcome(path: str, door: Door) -> Response:
    """A page of our own that goes on: after a redirect from elsewhere no strict cookie is sent."""
    onward = "/" + quote(path.lstrip("/\\"))  # `//elsewhere` would be another server
    refresh = f'<meta http-equiv="refresh" content="0;url={escape(onward)}">'
    page = HTMLResponse(f"<!doctype html><title>sparks</title>{refresh}")
    page.set_cookie(door.cookie, door.token or "", httponly=True, samesite="strict")
    return page


def _no(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status)
