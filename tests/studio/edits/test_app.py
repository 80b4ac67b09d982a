"""Pages of the studio and attacks on it: nothing runs, leaks or changes that should not."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient

from sparks.errors import SparksError
from sparks.media.clip import write_clip
from sparks.studio.door import Door
from sparks.studio.edits.app import MOST_UPLOADED, create_studio
from sparks.studio.edits.serving import serve_studio
from sparks.studio.edits.studio import Studio
from tests.editors.conftest import make_clip
from tests.studio.edits.test_index import make

HOME = {"host": "127.0.0.1"}
OURS = HOME | {"origin": "http://127.0.0.1"}
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7777 }}"
FORM = {"prompt": "a red ball jumps", "model": "pocket", "prefix_frames": "5"}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    made = Studio(tmp_path / "runs", [])  # no device: what is queued waits
    make(made.root / "one", HOSTILE, p_yes_edited=0.5)
    row = {
        **{"index": 0, "seed": 1, "z_sha256": "", "losses": {"vlm": 1.0}, "total": 1.0},
        **{"p_yes": 0.5, "best": True, "cost": {"renders": 1, "qwen_calls": 1, "wall_clock": 1.0}},
    }
    (made.root / "one" / "history.jsonl").write_text(json.dumps(row) + "\n")
    (made.root / "one" / "edited.mp4").write_bytes(b"film")
    (tmp_path / "secret.mp4").write_text("secret")
    yield made
    made.queue.close()


@pytest.fixture
def client(studio: Studio) -> TestClient:
    door = Door(limits={"/clips": MOST_UPLOADED})
    return TestClient(create_studio(studio, door), headers=OURS)


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clip that was sent by a browser under a name that leads elsewhere."""
    folder = tmp_path_factory.mktemp("uploaded")
    write_clip(folder / "clip.mp4", make_clip(17))
    studio = Studio(folder / "runs", [])
    client = TestClient(create_studio(studio, Door(limits={"/clips": 2**20})), headers=OURS)
    name = {"x-file-name": "..%2F..%2F%3Cb%3Emine.MP4"}
    answer = client.post("/clips", content=(folder / "clip.mp4").read_bytes(), headers=name)
    assert answer.status_code == 200, answer.text
    studio.queue.close()
    return studio.clips.get(answer.json()["id"]).folder


@pytest.fixture
def clip(studio: Studio, uploaded: Path) -> str:
    shutil.copytree(uploaded, studio.clips.folder / uploaded.name)
    return uploaded.name


def posts(client: TestClient) -> list[str]:
    routes = [each for each in client.app.routes if hasattr(each, "methods")]
    found = [each.path for each in routes if "POST" in (each.methods or ())]
    return [re.sub(r"\{\w+\}", "x", path) for path in found]


def test_no_other_site_can_change_anything(client: TestClient, studio: Studio) -> None:
    assert len(posts(client)) >= 10
    for path in posts(client):
        for origin in ("https://evil.example", "null"):
            answer = client.post(path, data={"run": "one"}, headers={"origin": origin})
            assert answer.status_code == 403, path
    for path in posts(client):
        assert client.get(path).status_code in (404, 405, 422), path
    assert studio.queue.jobs() == []


@pytest.mark.parametrize(
    "path", ["/", "/new", "/new?like=one", "/runs/one", "/experiments", "/?q=a"]
)
def test_what_others_wrote_is_text(client: TestClient, studio: Studio, path: str) -> None:
    studio.queue.add("edit", ("--help",), HOSTILE, HOSTILE)
    text = client.get(path).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "54439" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)


def test_a_search_is_text_as_well(client: TestClient) -> None:
    assert "<script>alert" not in client.get("/", params={"q": HOSTILE}).text
    assert "<script>alert" not in client.get("/parts/runs", params={"q": HOSTILE}).text


def test_the_page_of_a_run_is_sent_as_it_changes(client: TestClient, studio: Studio) -> None:
    """The first look of the stream; that it goes on is seen in a browser."""
    view = studio.view("one")
    assert (view.state, len(view.rows)) == ("finished", 1)
    assert client.get("/runs/nowhere").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/files/../secret.mp4",
            "/files/%2e%2e/secret.mp4",
            "/files/one/..%2f..%2f..%2fsecret.mp4",
        ),
        *("/files/.studio/index.json", "/files/.studio/jobs/x/job.json", "/files//etc/passwd"),
        *(
            "/clips/..%2f..%2fx/shown.mp4",
            "/clips/0000000000000000/facts.json",
            "/clips/x/strip.jpg",
        ),
        *("/runs/..%2f..", "/runs/.studio"),
    ],
)
def test_nothing_of_elsewhere_is_given(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert "secret" not in answer.text.replace("secret.mp4", "")


def test_no_run_of_elsewhere_is_worked_on(client: TestClient, studio: Studio) -> None:
    for run in ("../elsewhere", "/etc", "one/../one", "nowhere", ".studio"):
        for what in ("resume", "render", "pick", "star", "transfer"):
            fields = {"run": run, "evaluation": "1", "clip": "x", "prompt": "p"}
            assert client.post(f"/do/{what}", data=fields).status_code in (400, 404)
    for evaluation in ("0", "2", "-1"):
        fields = {"run": "one", "evaluation": evaluation}
        assert client.post("/do/star", data=fields).status_code == 400
    assert client.post("/do/pick", data={"run": "one", "evaluation": "$(x)"}).status_code == 422
    assert studio.queue.jobs() == []


PLAYLIST = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("content", [b"<svg onload=alert(1)>", PLAYLIST])
def test_what_is_no_film_is_not_taken(client: TestClient, studio: Studio, content: bytes) -> None:
    answer = client.post("/clips", content=content)
    assert answer.status_code == 400
    assert "this is no video that can be edited" in answer.text
    assert "root:" not in answer.text
    left = [path for path in studio.own.rglob("*") if path.is_file() and "lock" not in path.name]
    assert [path.name for path in left if path.name != "index.json"] == []


def test_what_is_too_large_is_not_read(client: TestClient) -> None:
    headers = {"content-length": str(MOST_UPLOADED + 1)}
    assert client.post("/clips", content=b"x", headers=headers).status_code == 413
    assert client.post("/check", content=b"x" * (2**20 + 1)).status_code == 413


def test_an_edit_is_queued_as_settings_that_name_no_code(
    client: TestClient, studio: Studio, clip: str
) -> None:
    stored = studio.clips.get(clip)
    assert (stored.name, stored.video.name) == ("<b>mine.MP4", "b-mine.mp4")
    assert (stored.facts["frames"], stored.facts["sound"]) == (17, True)
    fields = FORM | {"clip": clip, "end": "9", "more": "solver.sigma=0.5", "solver": "cma"}
    answer = client.post("/edits", data=fields, follow_redirects=False)
    assert answer.status_code == 303
    (job,) = studio.queue.jobs()
    assert job.arguments[0] == "solve"
    assert answer.headers["location"] == f"/runs/{job.run}"
    settings = yaml.safe_load((studio.queue.folder / job.id / "settings.yaml").read_text())
    assert settings["video"] == str(stored.video)
    assert settings["solver"] == {"name": "cma", "sigma": 0.5}
    assert client.get(f"/runs/{job.run}").text.count("a red ball jumps") >= 1
    again = client.get(f"/new?like={job.run}").text
    assert f'name="clip" value="{clip}"' in again
    for wrong in (
        {"solver": "evil.py:X"},
        {"model": "/etc"},
        {"clip": "../../x"},
        {"prompt": "a dragon"},
    ):
        assert client.post("/edits", data=fields | wrong).status_code == 400
    assert len(studio.queue.jobs()) == 1


def test_a_part_of_a_clip_is_cut_out(client: TestClient, studio: Studio, clip: str) -> None:
    stored = studio.clips.get(clip)
    fps, seconds = stored.facts["fps"], stored.facts["seconds"]
    cut = studio.clips.cut(stored, 4 / fps, 14 / fps)
    assert cut.parent == stored.folder
    from sparks.media.clip import read_clip

    assert len(read_clip(cut).frames) == 10
    assert studio.clips.cut(stored, 0, 0) == stored.video
    for start, end in ((seconds, seconds), (-1, 1), (0.5, 0.4), (float("nan"), 1)):
        with pytest.raises(SparksError, match="are no part of"):
            studio.clips.cut(stored, start, end)


def test_a_prompt_is_no_option(client: TestClient, studio: Studio, clip: str) -> None:
    for prompt in ("--output=/tmp/x", "--set solver.name=evil.py:X", "-h"):
        fields = {"run": "one", "clip": clip, "prompt": prompt, "static_prompt": prompt}
        client.post("/do/transfer", data=fields, follow_redirects=False)
        job = max(studio.queue.jobs(), key=lambda job: job.created)
        words = list(job.arguments)
        assert f"--prompt={prompt}" in words
        assert prompt not in words
        output = Path(words[words.index("--output") + 1])
        assert output.parent == studio.root


def test_a_check_tells_what_is_wrong_and_what_it_takes(client: TestClient) -> None:
    assert "choose a clip first" in client.post("/check", data=FORM).text
    text = client.post("/check", data=FORM | {"prompt": "a <b>dragon</b> jumps"}).text
    assert "does not know &lt;b&gt;dragon&lt;/b&gt;" in text
    assert "no time" in client.post("/check", data=FORM | {"region": "window"}).text


def test_a_device_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="device 'gpu' is unknown"):
        serve_studio(tmp_path, "127.0.0.1", 1, None, (), ["gpu"], ())
    (tmp_path / "file").touch()
    with pytest.raises(SparksError, match="cannot write into"):
        Studio(tmp_path / "file", [])


def test_without_the_extra_it_is_said_what_to_install() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None; sys.argv = ['sparks', 'studio', '/nowhere'];"
        "from sparks.cli import main; main()"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 2
    assert "pip install 'sound-sparks[studio]'" in told.stderr
    assert len(told.stderr.splitlines()) == 1
