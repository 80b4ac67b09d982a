"""The server as a process, and what it says when something is wrong."""

import asyncio
import hashlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from sparks.errors import SparksError
from sparks.studio.door import Door
from sparks.studio.server import Pages, create_app, serve
from sparks.studio.uploads import receive

HOME = {"host": "127.0.0.1", "origin": "http://127.0.0.1"}
SERVER = """
from sparks.studio.door import Door
from sparks.studio.server import create_app, serve
serve(create_app(Door(port={port})), Door(port={port}), lambda url: print(url, flush=True))
print("over", flush=True)
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_answers_and_ends_when_told(end: signal.Signals) -> None:
    code = SERVER.format(port=free_port())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        url = one.stdout.readline().strip()
        assert httpx.get(f"{url}static/base.css").status_code == 200
        one.send_signal(end)
        if end == signal.SIGINT:
            assert one.stdout.read().strip() == "over"
        one.wait(10)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        door = Door(port=taken.getsockname()[1])
        with pytest.raises(SparksError, match=f"port {door.port}; choose another --port"):
            serve(create_app(door), door)


@pytest.fixture
def client() -> TestClient:
    app = create_app(Door())

    @app.get("/mistake")
    def mistake() -> str:
        raise SparksError("no run at <script>alert(1)</script>; name one")

    @app.get("/gone")
    def gone() -> str:
        raise HTTPException(404, "there is no such file")

    @app.get("/count")
    def count(number: int) -> int:
        return number

    return TestClient(app, headers=HOME)


def test_a_mistake_is_a_line_for_scripts_and_a_page_for_people(client: TestClient) -> None:
    line = client.get("/mistake")
    assert (line.status_code, line.headers["content-type"][:10]) == (400, "text/plain")
    assert line.text == "no run at <script>alert(1)</script>; name one\n"
    shown = client.get("/mistake", headers={"sec-fetch-mode": "navigate"})
    assert "<script" not in shown.text
    assert "no run at &lt;script&gt;" in shown.text
    assert client.get("/gone", headers={"sec-fetch-mode": "navigate"}).status_code == 404
    assert client.get("/count?number=many").text.startswith("missing or not what it should be")
    assert client.get("/nowhere").status_code == 404
    assert client.get("/docs").status_code == 404


def test_what_a_template_is_given_cannot_be_a_script() -> None:
    pages = Pages(shared={"brand": "sparks"})
    hostile = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"
    text = pages.text("error.html", status=400, why=hostile)
    assert "<img" not in text
    assert "<script" not in text


def test_no_template_of_the_package_marks_values_as_safe_or_has_code_of_its_own() -> None:
    import re

    import sparks.studio

    templates = list((Path(sparks.studio.__file__).parent / "templates").rglob("*.html"))
    assert templates
    for path in templates:
        text = path.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", text), path
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=|javascript:", text)


def sent(body: list[bytes]) -> Request:
    left = list(body)

    async def receive_() -> dict[str, object]:
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    return Request({"type": "http", "headers": [], "method": "POST"}, receive_)


def test_an_upload_is_named_by_what_it_holds(tmp_path: Path) -> None:
    path, digest = asyncio.run(receive(sent([b"ab", b"c"]), tmp_path / "clips", 3))
    assert digest == hashlib.sha256(b"abc").hexdigest()
    assert path.read_bytes() == b"abc"
    assert [each.name for each in path.parent.iterdir()] == [digest]


@pytest.mark.parametrize(("body", "status"), [([b"ab", b"cd"], 413), ([b""], 422)])
def test_an_upload_that_is_not_taken_leaves_nothing(
    tmp_path: Path, body: list[bytes], status: int
) -> None:
    with pytest.raises(HTTPException) as refused:
        asyncio.run(receive(sent(body), tmp_path, 3))
    assert refused.value.status_code == status
    assert list(tmp_path.iterdir()) == []
