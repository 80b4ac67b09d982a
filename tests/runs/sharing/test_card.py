"""Controls made to be shared, and taken from a hub on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from sparks.editors.controls import Controls, load_controls, save_controls
from sparks.errors import SparksError
from sparks.runs.recipes import read_recipe
from sparks.runs.sharing import hub
from sparks.runs.sharing.hub import CONTROLS, check_here, controls_file
from sparks.runs.sharing.public import public
from tests.workplace import CRITIC, Sparks

ASKED = ("--prompt", "a red ball jumps", "--static-prompt", "a red ball stays")


@pytest.fixture
def card(sparks: Sparks, workplace: Path) -> Path:
    """A folder with a card, made once, of a run of a video by its whole path."""
    folder = workplace / "card"
    if not folder.exists():
        config = ("--config", "settings.yaml", *CRITIC, "--set", "solver.lr=1")
        own = str(workplace / "own.mp4")
        code, _, err = sparks("solve", own, *ASKED, *config, "--output", "run")
        assert code == 0, err
        code, _, err = sparks("export", "run", "--format", "card", "--output", "card")
        assert code == 0, err
    return folder


def test_a_card_says_which_library_opens_it(card: Path) -> None:
    from huggingface_hub import ModelCard

    read = ModelCard.load(card / "README.md")
    assert read.data.library_name == "sparks"
    assert read.data.base_model is None  # a folder of one's own is no model of the hub
    assert "a red ball jumps" in read.text
    for name in ("contact_sheet.png", "side_by_side.mp4"):
        assert f"({name})" in read.text
        assert (card / name).is_file()


def test_a_card_holds_the_runs_controls_and_pictures(card: Path, workplace: Path) -> None:
    ours, theirs = load_controls(card / CONTROLS), load_controls(workplace / "run/best.safetensors")
    assert torch.equal(ours.alpha, theirs.alpha)
    assert torch.equal(ours.delta_v, theirs.delta_v)
    for name in ("edited.mp4", "side_by_side.mp4"):
        assert _packets(card / name) == _packets(workplace / "run" / name)


def test_nothing_shared_names_a_place_on_this_machine(card: Path, workplace: Path) -> None:
    recipe = read_recipe(card / CONTROLS)
    assert recipe == json.loads((card / "recipe.json").read_text())
    assert recipe == read_recipe(card / "edited.mp4")
    assert recipe["fingerprint"] == read_recipe(workplace / "run/edited.mp4")["fingerprint"]
    for path in card.iterdir():
        assert str(workplace).encode() not in path.read_bytes(), path.name


def test_paths_become_names_and_all_else_stays() -> None:
    config = {"model": "/home/me/models/ltx", "video": "a.mp4", "device": "cuda", "prompt": "a/b"}
    made = {"config": config, "model": "~/ltx", "seeds": {"noise": 3}, "memory": {}}
    assert public(made) == {
        "config": {"model": "ltx", "prompt": "a/b"},
        "model": "ltx",
        "seeds": {"noise": 3},
    }


def _packets(path: Path) -> list[tuple[str, bytes]]:
    with av.open(str(path)) as container:
        return sorted((p.stream.type, bytes(p)) for p in container.demux() if p.size)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download of one file asks for."""

    files: dict[str, bytes] = {}  # noqa: RUF012
    claimed: int | None = None  # size in the headers, if another than the file's
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        name = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {name}")
        content = self.files.get(name)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(self.claimed or len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    Hub.files, Hub.claimed, Hub.asked = {}, None, []
    yield Hub
    server.shutdown()


def test_controls_are_taken_from_the_hub_and_rendered(
    sparks: Sparks, card: Path, served: type[Hub], tmp_path: Path
) -> None:
    served.files = {f"/me/jumps/resolve/main/{p.name}": p.read_bytes() for p in card.iterdir()}
    code, out, err = sparks(
        *("transfer", "me/jumps", "--video", "own.mp4", *ASKED, *CRITIC),
        *("--model", "model", "--output", str(tmp_path / "run"), "--json"),
    )
    assert code == 0, err
    here, own = json.loads(out), json.loads((card.parent / "run/result.json").read_text())
    assert here["p_yes_transfer"] == pytest.approx(own["p_yes_edited"], rel=1e-4)
    ours = [each for each in served.asked if "/me/" in each]  # the client asks for news of its own
    assert {each.rpartition("/")[2] for each in ours} == {CONTROLS}


def test_a_file_too_large_for_controls_is_not_fetched(served: type[Hub]) -> None:
    served.files = {"/me/large/resolve/main/controls.safetensors": b"x"}
    served.claimed = hub.LARGEST + 1
    with pytest.raises(SparksError, match="64 MiB large; controls have 64 MiB at most"):
        controls_file(Path("me/large"))
    assert not [each for each in served.asked if each.startswith("GET")]


def test_what_is_not_there_or_holds_something_else_is_one_line(
    served: type[Hub], sparks: Sparks
) -> None:
    with pytest.raises(SparksError, match="neither as a folder here nor on the hub"):
        controls_file(Path("me/nothing"))
    served.files = {"/me/other/resolve/main/controls.safetensors": b"\x80\x04pickle"}
    code, _, err = sparks("transfer", "me/other", "--video", "own.mp4", *ASKED)
    assert (code, "cannot read controls" in err) == (2, True)


def test_a_stranger_makes_nobody_fetch_a_model(served: type[Hub], tmp_path: Path) -> None:
    recipe = {"config": {"model": "evil/model", "critic": {"name": "qwen"}}}
    with pytest.raises(SparksError, match="'evil/model', which is not on this machine"):
        check_here(recipe, {}, "me/x")
    check_here(recipe, {"model": "pocket"}, "me/x")
    recipe["config"]["critic"] = {"model": "evil/critic"}
    with pytest.raises(SparksError, match="the critic 'evil/critic'"):
        check_here(recipe, {"model": "pocket"}, "me/x")


def test_a_folder_comes_before_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "me" / "jumps"
    folder.mkdir(parents=True)
    save_controls(folder / CONTROLS, Controls(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1)), {})
    assert controls_file(folder) == (folder / CONTROLS, False)
