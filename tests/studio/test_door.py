"""What a request has to keep to; each test is an attack, and the way that is open beside it."""

from collections.abc import Callable
from typing import Annotated

import pytest
from fastapi import Form
from starlette.testclient import TestClient

from sparks.errors import SparksError
from sparks.studio.door import POLICY, Door
from sparks.studio.server import create_app

HOME = {"host": "127.0.0.1:8040"}
OURS = HOME | {"origin": "http://127.0.0.1:8040"}
OPEN = Door("0.0.0.0", token="secret", hosts=("studio.example",), public=("/s/",))
AWAY = {"host": "studio.example:8040"}


def client(door: Door, done: list[str] | None = None) -> TestClient:
    app = create_app(door)

    @app.get("/page")
    @app.get("/s/page")
    @app.get("/secret/page")
    def page() -> str:
        return "here"

    @app.post("/do")
    def do(what: Annotated[str, Form()]) -> str:
        (done if done is not None else []).append(what)
        return what

    return TestClient(app, headers=HOME)


def test_another_address_needs_a_token() -> None:
    with pytest.raises(SparksError, match=r"0\.0\.0\.0 can be reached from other machines"):
        Door("0.0.0.0")
    assert not Door("192.168.0.7", token="x").loopback
    assert all(Door(name).loopback for name in ("127.0.0.1", "localhost", "::1", "127.0.0.2"))


def test_a_name_turned_to_this_machine_is_not_answered() -> None:
    """DNS rebinding: the attacker's page reads what its own name leads to."""
    here = client(Door())
    for host in ("evil.example", "evil.example:8040", "127.0.0.1.evil.example", "", "[::1", "x@y"):
        assert here.get("/page", headers={"host": host}).status_code == 421
    for host in ("127.0.0.1/page", "127.0.0.1:8040/s/", "127.0.0.1?", "127.0.0.1#", "a@127.0.0.1"):
        assert here.get("/page", headers={"host": host}).status_code == 421
    for host in ("127.0.0.1:8040", "localhost:9000", "[::1]:8040", "LOCALHOST"):
        assert here.get("/page", headers={"host": host}).json() == "here"
    assert client(OPEN).get("/s/page", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:8040.evil.example"},
        {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8040"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {},
    ],
)
def test_nothing_is_done_for_another_site(headers: dict[str, str]) -> None:
    done: list[str] = []
    answer = client(Door(), done).post("/do", data={"what": "it"}, headers=headers)
    assert (answer.status_code, done) == (403, [])


def test_a_page_of_ours_and_a_program_with_the_token_get_it_done() -> None:
    done: list[str] = []
    here, there = client(Door(), done), client(OPEN, done)
    assert here.post("/do", data={"what": "a"}, headers=OURS).status_code == 200
    same = {"sec-fetch-site": "same-origin"}
    assert here.post("/do", data={"what": "b"}, headers=same).status_code == 200
    bearer = AWAY | {"authorization": "Bearer secret"}
    assert there.post("/do", data={"what": "c"}, headers=bearer).status_code == 200
    wrong = AWAY | {"authorization": "Bearer guess"}
    assert there.post("/do", data={"what": "d"}, headers=wrong).status_code == 401
    assert done == ["a", "b", "c"]


@pytest.mark.parametrize("path", ["/page", "/secret/page", "/sx/page", "/", "/s%2fpage/../../page"])
def test_without_the_token_nothing_is_shown(path: str) -> None:
    there = client(OPEN)
    for query in ("", "?token=", "?token=guess", "?token=secre", "?token=secrett"):
        assert there.get(path + query, headers=AWAY).status_code == 401
    named = {"host": "studio.example:8040/s/x"}  # a host that makes any address a public one
    assert there.get(path, headers=named).status_code == 421
    held = AWAY | {"cookie": "sparks-8040=guess"}
    assert there.get(path, headers=held).status_code == 401


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address() -> None:
    there = client(OPEN)
    answer = there.get("/page?token=secret", headers=AWAY)
    assert 'content="0;url=/page"' in answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    held = AWAY | {"cookie": "sparks-8040=secret"}
    assert there.get("/page", headers=held).json() == "here"
    assert there.get("/s/page", headers=AWAY).json() == "here"


@pytest.mark.parametrize("path", ["//evil.example", "/%5cevil.example", "/%22><script>"])
def test_the_token_leads_nowhere_else(path: str) -> None:
    text = client(OPEN).get(f"http://studio.example{path}?token=secret", headers=AWAY).text
    assert "url=//" not in text
    assert "\\" not in text
    assert "<script" not in text


def test_a_token_is_asked_for_on_loopback_where_one_is_given() -> None:
    assert client(Door(token="x")).get("/page").status_code == 401


@pytest.mark.parametrize("size", [2**20 + 1, 10**15])
def test_a_body_is_limited_before_it_is_read(size: int) -> None:
    here = client(Door(limits={"/do/large/": 10**9}))
    headers = OURS | {"content-length": str(size)}
    assert here.post("/do", content=b"", headers=headers).status_code == 413


def parts() -> object:
    yield b"what=it"


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", ""])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    headers = {name: value.encode() for name, value in (OURS | {"content-length": length}).items()}
    answer = client(Door()).post("/do", content=b"x", headers=headers)
    assert answer.status_code == 411


def test_a_body_of_unsaid_length_is_refused() -> None:
    assert client(Door()).post("/do", content=parts(), headers=OURS).status_code == 411


ASKED: list[Callable[[TestClient], object]] = [
    lambda here: here.get("/page"),
    lambda here: here.get("/nowhere"),
    lambda here: here.get("/page", headers={"host": "evil.example"}),
    lambda here: here.get("/static/base.css"),
    lambda here: here.post("/do", headers=OURS),
]


@pytest.mark.parametrize("asked", ASKED)
def test_the_policy_stands_on_every_answer(asked: Callable) -> None:
    headers = asked(client(Door())).headers
    assert headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
