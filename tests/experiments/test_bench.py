"""`sparks bench` on a tiny model, and what it measures on videos of the world."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sparks import page
from sparks.experiments.score import METRICS, score
from sparks.experiments.tasks import task_list
from sparks.media.clip import Clip, write_clip
from sparks.runs.cache import Cache
from sparks.runs.folder import new_folder
from sparks.runs.prepare import prepare
from tests.workplace import CRITIC, Sparks

PUBLISH = Path(__file__).parents[2] / "benchmarks" / "publish.py"


def bench(*more: str) -> tuple[str, ...]:
    return ("bench", "--tasks", "tasks.yaml", "--config", "settings.yaml", *CRITIC, *more)


def test_a_bench_runs_once_and_its_tables_can_be_made_again(
    sparks: Sparks, workplace: Path
) -> None:
    judge = ("--set", "judge={name: plugins.py:Redness, sharpness: -40}")
    arguments = bench("--output", "out", *judge, "--json")
    code, out, err = sparks(*arguments)
    assert code == 0, err
    found = json.loads(out)
    world, own = found["cells"]
    _check_cells(workplace / "out", world, own)
    means = {line["metric"]: line for line in found["estimates"]}
    assert means["qwen_calls"]["mean"] == means["renders"]["mean"] == 2
    assert means["happened_edited"]["count"] == 1
    assert means["p_yes_edited"]["count"] == 2
    assert "cells/adam/00-jump-42" in err
    assert "2/2" in err

    folder, times = workplace / "out", {}
    for path in folder.glob("cells/*/*/*"):
        times[path] = path.stat().st_mtime_ns
    (folder / "index.html").unlink()
    code, out, err = sparks("bench", "--output", "out", "--sheets")
    assert code == 0, err
    assert "| 00-jump | a red ball jumps |" in out
    assert (folder / "table.md").read_text() in out
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("cells/*/*/*")}
    assert (folder / "index.html").is_file()
    assert np.asarray(Image.open(folder / "sheets" / "own.png")).std() > 10

    remeasured = folder / world["folder"] / "row.json"
    before = json.loads(remeasured.read_text())
    remeasured.unlink()
    assert sparks(*arguments)[0] == 0
    again = json.loads(remeasured.read_text())
    assert again == before | {"elapsed": again["elapsed"]}
    result = folder / world["folder"] / "result.json"
    assert result.stat().st_mtime_ns == times[result]

    code, _, err = sparks(*arguments, "--set", "solver.lr=0.1")
    assert code == 2
    assert "other settings" in err


def _check_cells(folder: Path, world: dict[str, object], own: dict[str, object]) -> None:
    for row in (world, own):
        result = json.loads((folder / str(row["folder"]) / "result.json").read_text())
        for name in ("p_yes_baseline", "p_yes_best", "p_yes_edited"):
            assert row[name] == result[name]
        assert row["p_yes_judge_edited"] == pytest.approx(1 - result["p_yes_edited"], abs=1e-5)
        assert row["judge_agrees"] == (row["p_yes_judge_edited"] > 0.5)  # type: ignore[operator]
        assert row["total"] == sum(result["losses"].values())
        assert row["denoiser_backwards"] == 2
        assert (row["solver"], row["space"], row["seed"]) == ("adam", "full", 42)
    assert set(METRICS) < set(world)
    assert world["outside_codec"] > 0  # type: ignore[operator]
    assert world["judge_right"] == (world["judge_agrees"] == world["happened_edited"])
    assert "happened_edited" not in own
    assert own["judge_right"] is None
    files = {path.name for path in (folder / str(own["folder"])).iterdir()}
    assert {"edited.mp4", "baseline.mp4", "row.json"} < files
    assert not {"side_by_side.mp4", "contact_sheet.png", "curve.png"} & files


def test_metrics_are_columns_that_can_be_added_later(
    sparks: Sparks, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(workplace))
    arguments = bench("--output", "measured", "--budget", "qwen_calls=1")
    code, out, err = sparks(*arguments, "--metrics", "motion,l1", "--json")
    assert code == 0, err
    found = json.loads(out)
    means = {line["metric"] for line in found["estimates"]}
    assert {"dynamic_degree", "global_drift", "l1"} < means
    assert "colour_drift" not in means
    assert all(0 < cell["l1"] < 1 for cell in found["cells"])
    assert sparks(*arguments, "--metrics", "nothing")[0] == 2

    file = workplace / "measured" / found["cells"][0]["folder"] / "metrics.json"
    times = file.stat().st_mtime_ns
    code, out, err = sparks("bench", "--output", "measured", "--metrics", "l1")
    assert code == 0, err
    assert file.stat().st_mtime_ns == times  # nothing was left to measure
    code, out, err = sparks("bench", "--output", "measured", "--metrics", "perceptual,colour")
    assert code == 0, err
    assert "| colour drift |" in out
    assert "| L1 to the source |" in out  # measured before
    assert "Not measured: lpips: LPIPS needs AlexNet at" in out
    assert "Not measured: ms-ssim: MS-SSIM needs pictures of 33 pixels" in out
    assert "LPIPS to the source" not in out
    page = (workplace / "measured" / "index.html").read_text()
    assert "Not measured: lpips" in page
    assert "colour drift" in page

    file.write_text(json.dumps({"edited": {"figures": {"l1": "="}}}))  # as nobody measured it
    code, out, err = sparks("bench", "--output", "measured", "--metrics", "l1", "--json")
    assert code == 0, err
    assert [cell["l1"] for cell in json.loads(out)["cells"]] == [
        cell["l1"] for cell in found["cells"]
    ]


def test_the_page_stands_alone(sparks: Sparks, workplace: Path) -> None:
    code, _, err = sparks(*bench("--output", "seen", "--budget", "qwen_calls=1"))
    assert code == 0, err
    folder = workplace / "seen"
    text = (folder / "index.html").read_text()
    links = _links(text)
    assert len([link for link in links if link.endswith(".mp4")]) == 6
    assert all((folder / unquote(link)).is_file() for link in links)
    assert "http" not in text
    assert "name: plugins.py:Redness" in text  # the settings
    command = (sys.executable, str(PUBLISH), str(folder), str(workplace / "moved"))
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| happened, final |" in printed
    assert all((workplace / "moved" / unquote(link)).is_file() for link in links)
    edited = next(unquote(link) for link in links if link.endswith("edited.mp4"))
    comments = []
    for each in (folder, workplace / "moved"):
        with av.open(str(each / edited)) as container:
            comments.append(container.metadata.get("comment"))
    assert comments[0]
    assert comments[1] is None


def _links(text: str) -> list[str]:
    found: list[str] = []
    open_tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(str(value) for key, value in attrs if key in ("src", "href"))
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Reader().feed(text)
    assert open_tags == []
    return found


def test_pages_escape_what_they_show() -> None:
    nasty = '<b>"&'
    parts = [page.paragraph(nasty), page.code(nasty), page.table([nasty], [[nasty]])]
    parts += [page.image(f"{nasty}.png", nasty), page.video_row(nasty, {nasty: f"{nasty}#.mp4"})]
    text = page.page(nasty, page.section(nasty, *parts))
    assert nasty not in text
    assert [unquote(link) for link in _links(text)] == [f"{nasty}.png", f"{nasty}#.mp4"]


def test_a_failing_cell_is_named_and_can_be_tried_again(sparks: Sparks, workplace: Path) -> None:
    arguments = bench("--solver", "plugins.py:Fails", "--output", "failing")
    code, out, err = sparks(*arguments)
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: 1 of 2 cells failed, cells/plugins.py-Fails/own-42 with")
    assert "out of luck" in last
    assert "1 of 2 edits are finished" in (workplace / "failing/table.md").read_text()
    (workplace / "mended").touch()
    code, out, err = sparks(*arguments)
    assert code == 0, err
    assert "1/1" in err
    assert not list((workplace / "failing").glob("cells/*/*/error.txt"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tasks", "gone.yaml"], "no tasks 'gone.yaml'"),
        (["--tasks", "lost.yaml"], "no video file at lost.mp4"),
        (["--solver", "adm"], "did you mean 'adam'"),
        (["--set", "solver.lr=-1", "--solver", "adam"], "lr is -1"),
        (["--set", "judge.name=nobody"], "no critics named 'nobody'"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    sparks: Sparks, workplace: Path, more: list[str], message: str
) -> None:
    lost = "tasks: [{name: a, source: lost.mp4, prompt: a red ball jumps}]"
    (workplace / "lost.yaml").write_text(lost)
    code, out, err = sparks(*bench("--output", "wrong", *more))
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (workplace / "wrong").exists()


def test_the_truth_is_read_from_the_decoded_videos(tmp_path: Path) -> None:
    task = task_list("pocket12")[0]  # an idle box is asked to jump
    video = task.write_source(tmp_path)
    prepared = prepare(task.settings(video), cache=Cache())
    source = prepared.source
    scene = task.source.scene()  # type: ignore[union-attr]
    from sparks.pocket import world

    videos = {"baseline": source.frames, "edited": world.render(scene.acting("jump"))[0]}
    for name, frames in videos.items():
        write_clip(tmp_path / f"{name}.mp4", Clip(frames, source.fps))
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    row = score(tmp_path, task, prepared)
    assert (row["happened_baseline"], row["happened_edited"]) == (False, True)
    assert row["continuous_edited"]
    assert row["strength_edited"] > 1
    # Neither went through the codec, so both change less outside than it does.
    assert 0 < row["outside_codec"] < 0.02
    assert row["outside_edited"] < 1
    noisy = (videos["edited"] + 0.05 * torch.randn_like(videos["edited"])).clamp(0, 1)
    write_clip(tmp_path / "edited.mp4", Clip(noisy, source.fps))
    assert score(tmp_path, task, prepared)["outside_edited"] > 2
    write_clip(tmp_path / "edited.mp4", Clip(torch.full_like(noisy, 0.5), source.fps))
    gone = score(tmp_path, task, prepared)
    assert gone["happened_edited"] is False
    json.dumps(gone, allow_nan=False)  # null is what has no meaning


RESULT = {
    "solver": "adam",
    "space": "full",
    "p_yes_baseline": 0.1,
    "p_yes_best": 0.8,
    "p_yes_edited": 0.7,
    "p_yes_judge_baseline": None,
    "p_yes_judge_edited": None,
    "stopped_by": "qwen_calls",
    "losses": {"vlm": 0.25},
    "spent": {"qwen_calls": 3, "wall_clock": 1.5},
}


def test_a_second_with_two_runs_gives_them_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    taken = [new_folder("bench") for _ in range(3)]
    assert all(folder.is_dir() for folder in taken)
    assert len(set(taken)) == 3
    assert all(folder.name.split("-")[2] == "bench" for folder in taken)
