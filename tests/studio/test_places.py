"""Files that are asked for: those of the folder, and no others."""

import base64
import hashlib
import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from sparks import page
from sparks.studio.door import Door
from sparks.studio.places import file_response, inside
from sparks.studio.server import create_app

HOME = {"host": "127.0.0.1"}
FILM = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    (root / "one").mkdir(parents=True)
    (root / "one" / "edited.mp4").write_bytes(FILM)
    (root / "one" / ".lock").touch()
    (root / "one" / "notes.exe").write_text("MZ")
    (root / "one" / "<b>&.mp4").write_bytes(FILM)
    (tmp_path / "secret.mp4").write_text("secret")
    (tmp_path / "runs-too").mkdir()
    (tmp_path / "runs-too" / "secret.mp4").write_text("secret")
    os.symlink(tmp_path / "secret.mp4", root / "one" / "link.mp4")
    os.symlink(tmp_path / "runs-too", root / "two")
    os.symlink("loop", root / "loop")
    os.symlink(root / "one" / "edited.mp4", root / "same.mp4")
    return root


@pytest.fixture
def client(folder: Path) -> TestClient:
    app = create_app(Door())

    @app.get("/files/{path:path}")
    def files(path: str, save: bool = False):
        return file_response(folder, path, save_as="edit.mp4" if save else None)

    return TestClient(app, headers=HOME)


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.mp4", "one/../../secret.mp4", "%2e%2e/secret.mp4", "..%2fsecret.mp4"),
        *("/etc/passwd", "%2fetc/passwd", "one//edited.mp4", "one/%2e/edited.mp4"),
        *("..%5csecret.mp4", "one\\edited.mp4", "C:%5cx", "C:x", "one/edited.mp4%00.png"),
        *("one/link.mp4", "two/secret.mp4", "../runs-too/secret.mp4", "loop", "loop/x"),
        *("one/.lock", "one", "", "nowhere.mp4", "one/edited.mp4/x", "a" * 5000),
    ],
)
def test_nothing_of_elsewhere_is_given(client: TestClient, path: str) -> None:
    answer = client.get(f"/files/{path}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content


def test_a_link_within_the_folder_may_be_followed(folder: Path, client: TestClient) -> None:
    assert client.get("/files/same.mp4").content == FILM
    assert inside(folder, "same.mp4") == (folder / "one" / "edited.mp4").resolve()


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-1", 0, 2), ("bytes=100-", 100, len(FILM)), ("bytes=-5", len(FILM) - 5, len(FILM))],
)
def test_a_range_is_given_as_players_seek(
    client: TestClient, asked: str, start: int, end: int
) -> None:
    answer = client.get("/files/one/edited.mp4", headers={"range": asked})
    assert (answer.status_code, answer.content) == (206, FILM[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(FILM)}"
    assert answer.headers["content-type"] == "video/mp4"
    whole = client.get("/files/one/edited.mp4")
    assert (whole.content, whole.headers["accept-ranges"]) == (FILM, "bytes")


def test_an_impossible_range_is_said_to_be_one(client: TestClient) -> None:
    headers = {"range": f"bytes={len(FILM)}-"}
    assert client.get("/files/one/edited.mp4", headers=headers).status_code == 416


def test_what_no_browser_should_open_is_saved(client: TestClient) -> None:
    headers = client.get("/files/one/notes.exe").headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")
    saved = client.get("/files/one/%3Cb%3E&.mp4?save=1").headers["content-disposition"]
    assert saved == 'attachment; filename="edit.mp4"'


def test_only_our_own_script_runs_on_a_page_of_a_folder(folder: Path, client: TestClient) -> None:
    (folder / "one" / "index.html").write_text(page.page("A run", page.video_row("row", {})))
    policy = client.get("/files/one/index.html").headers["content-security-policy"]
    (scripts,) = (part for part in policy.split("; ") if part.startswith("script-src"))
    digest = base64.b64encode(hashlib.sha256(page.SCRIPT.encode()).digest()).decode()
    assert scripts == f"script-src 'sha256-{digest}'"
    assert "default-src 'none'" in policy
