"""Comparisons: layouts, other methods' files, one form for all, and a kill in the middle."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from PIL import Image

from sparks.errors import SparksError
from sparks.evaluation.comparison.found import scenarios_of, video_of
from sparks.evaluation.comparison.laying import fitted, lay
from sparks.evaluation.comparison.layout import read_layout
from sparks.media.clip import Clip, read_clip, write_clip
from sparks.pocket import world
from tests.evaluation.clips import FPS, sliding, still
from tests.workplace import Sparks

LAYOUT = """
title: a test
methods:
  - {name: ours, experiment: ours, setting: adam, role: ours}
  - {name: prompt only, experiment: ours, setting: adam, video: baseline, role: baseline}
  - {name: UniEdit, folder: uniedit, form: uniedit}
  - {name: Aleph, folder: aleph, files: "{scenario}_final.mp4"}
metrics: l1,colour
judge: {backend: pocket}
"""
TASKS = ("00-jump", "01-grow", "02-spin")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout, an experiment of ours as it was published, a gif and a larger, faster video."""
    folder = tmp_path_factory.mktemp("compare")
    scenes = world.draw(3, 5, ("jump",))
    rows = []
    for index, (task, action) in enumerate(zip(TASKS, ("jump", "grow", "spin"), strict=True)):
        scene = scenes[index : index + 1]
        source, edit = (world.render(scene.acting(a))[0] for a in ("stay", action))
        cell = folder / "ours" / "cells" / "adam" / f"{task}-42"
        write_clip(folder / "ours" / "sources" / f"{task}.mp4", Clip(source, world.FPS))
        write_clip(cell / "edited.mp4", Clip(edit, world.FPS))
        write_clip(cell / "baseline.mp4", Clip(source, world.FPS))
        _write_others(folder, task, source, edit)
        words = scene.acting(action).prompts()[0]
        judge = {"p_yes_judge_edited": 0.9, "p_yes_judge_baseline": 0.1}
        place = {"folder": f"cells/adam/{task}-42", "seed": 42}
        rows.append({"setting": "adam", "task": task, "prompt": words, **place, **judge})
    with (folder / "ours" / "cells.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "layout.yaml").write_text(LAYOUT)
    return folder


def _write_others(folder: Path, task: str, source: torch.Tensor, edit: torch.Tensor) -> None:
    both = (torch.cat([source, edit], -1) * 255).byte().permute(0, 2, 3, 1).numpy()
    images = [Image.fromarray(picture) for picture in both]
    (folder / "uniedit").mkdir(exist_ok=True)
    path = folder / "uniedit" / f"{task}.gif"
    images[0].save(path, save_all=True, append_images=images[1:], duration=80, loop=0)
    if task != TASKS[2]:  # of the last task Aleph made nothing
        large = torch.nn.functional.interpolate(source.repeat_interleave(2, 0), (120, 160))
        write_clip(folder / "aleph" / f"{task}_final.mp4", Clip(large, Fraction(25)))


def test_the_tasks_of_an_experiment_are_the_scenarios(laid: Path) -> None:
    layout = read_layout(laid / "layout.yaml")
    given = scenarios_of(layout)
    assert [scenario.name for scenario in given] == list(TASKS)
    assert given[0].prompt.endswith("jumps")
    assert given[0].prefix_frames == 5
    found = [video_of(method, given[2]) for method in layout.methods]
    assert [video is not None for video in found] == [True, True, True, False]
    assert found[0] is not None
    assert found[0].p_yes == 0.9
    assert found[2] is not None
    assert found[2].part == "right half"


def test_every_video_is_brought_to_the_form_of_ours(laid: Path, tmp_path: Path) -> None:
    comparison = lay(read_layout(laid / "layout.yaml"), tmp_path)
    for scenario in comparison.scenarios:
        for path in (scenario.source, *scenario.edits.values()):
            clip = read_clip(path)
            assert (clip.frames.shape[1:], clip.fps) == ((3, 96, 96), world.FPS)
            # A gif has no second frame of what stands still, so it may end early.
            assert len(clip.frames) == 25 or (path.stem == "UniEdit" and len(clip.frames) > 15)
    first, last = comparison.scenarios[0], comparison.scenarios[2]
    assert first.notes[0] == "UniEdit: right half of the picture taken"
    assert first.notes[-2:] == (
        "Aleph: 25 frames/s taken at 12.5",
        "Aleph: 160x120 brought to 96x96, cropped",
    )
    assert "Aleph: no video" in last.notes
    ours, gif = (read_clip(first.edits[name]).frames for name in ("ours", "UniEdit"))
    assert (ours[: len(gif)] - gif).abs().mean() < 0.02  # a gif has 256 colours
    unchanged = (laid / "ours" / "cells" / "adam" / "00-jump-42" / "edited.mp4").read_bytes()
    assert first.edits["ours"].read_bytes() == unchanged


def test_a_clip_in_the_form_of_another() -> None:
    like = Clip(still(9), FPS)
    clip, said = fitted(Clip(sliding(), Fraction(25)), like)
    assert len(clip.frames) == 9
    assert said == ["25 frames/s taken at 12.5"]
    clip, said = fitted(Clip(still(5), FPS), like)
    assert (len(clip.frames), said) == (5, ["has 5 of 9 frames"])
    assert fitted(like, like) == (like, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: []", "methods: List should have at least 2"),
        ("methods: [{name: a, folder: x}, {name: a, folder: y}]", "two methods of one name"),
        ("methods: [{name: a}, {name: b, folder: y}]", "give experiment or folder, one of them"),
        (
            "methods: [{name: a, folder: x}, {name: b, folder: y}]",
            "no experiment has the scenarios",
        ),
        ("methods: [{name: a, folder: x, form: z}, {name: b, folder: y}]", "form is 'z'; choose"),
        ("methods: [{name: a, folder: x, files: z}, {name: b, folder: y}]", 'no "{scenario}" in'),
        ("titel: x\nmethods: [{name: a, folder: x}, {name: b, folder: y}]", "titel: Extra inputs"),
        (
            "methods: [{name: a, experiment: x, seed: true}, {name: b, folder: y}]",
            "methods.0.seed=True is not usable: give a whole number",
        ),
        ("methods: [{name: ../a, folder: x}, {name: b, folder: y}]", "methods.0.name"),
    ],
)
def test_a_layout_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "layout.yaml").write_text(text)
    with pytest.raises(SparksError, match=r"layout\.yaml: ") as error:
        read_layout(tmp_path / "layout.yaml")
    assert message in str(error.value)


def test_a_setting_that_is_not_there_and_files_that_are_too_many(laid: Path) -> None:
    layout = read_layout(laid / "layout.yaml")
    given = scenarios_of(layout)[0]
    other = layout.methods[0].model_copy(update={"setting": "ppo"})
    with pytest.raises(SparksError, match="has no setting 'ppo'; choose adam"):
        video_of(other, given)
    many = layout.methods[2].model_copy(update={"files": "*{scenario}*", "folder": laid / "aleph"})
    assert video_of(many, given) is not None
    many = many.model_copy(update={"files": "0*-*{scenario}*", "folder": laid / "aleph"})
    assert video_of(many, given) is None


def test_the_command_is_killed_and_goes_on(
    laid: Path, tmp_path: Path, sparks: Sparks, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sparks.cli", "compare", str(laid / "layout.yaml")]
    with subprocess.Popen([*command, "--output", str(out)], stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 240
        while not (kept := list(out.glob("metrics/*/[!.]*.json"))) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert kept
    times = {path: path.stat().st_mtime_ns for path in [*kept, *out.glob("videos/*/[!.]*.mp4")]}
    assert not (out / "index.html").exists()

    again = ("compare", str(laid / "layout.yaml"), "--output", str(out))
    code, text, err = sparks(*again, "--on", "processes", "--jobs", "2")
    assert code == 0, err
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert len(list(out.glob("metrics/*/[!.]*.json"))) == 11
    calls = {p: p.stat().st_mtime_ns for p in out.glob("judge/calls/*.json")}
    assert len(calls) == 3 * 2
    assert "| ours | 3 | 100.0 |" in text
    assert "| prompt only | 3 | 0.0 |" in text
    assert "D_bg" not in text
    assert "P(yes), the search's held-out judge | 1.00 |" in text
    assert "judge's overall |" not in text.split("Agreement")[1]  # the judge is the measurement
    _check_page(out)

    assert sparks(*again)[0] == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert calls == {p: p.stat().st_mtime_ns for p in out.glob("judge/calls/*.json")}
    code, stats, err = sparks("stats", str(out / "cells.csv"), "--column", "l1", "--json")
    assert code == 0, err
    assert {row["method"] for row in json.loads(stats)[0]["rows"]} >= {"ours", "UniEdit"}


def _check_page(out: Path) -> None:
    page = (out / "index.html").read_text()
    links = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert len(links) == 3 * 5 - 1  # sources and edits, one of which was not made
    assert all((out / unquote(link)).is_file() for link in links)
    assert "UniEdit: right half of the picture taken" in page
    assert "overall" in page
    assert "http" not in page


def test_a_folder_with_other_things_is_left_alone(
    laid: Path, tmp_path: Path, sparks: Sparks
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    code, _, err = sparks("compare", str(laid / "layout.yaml"), "--output", "mine")
    assert code == 2
    assert "mine holds no comparison" in err


def test_the_papers_figures_are_made_from_what_was_kept(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    scene, rows = world.draw(1, 5, ("jump",)), []
    source, edit = (world.render(scene.acting(action))[0] for action in ("stay", "jump"))
    folder = tmp_path / "modality"
    write_clip(folder / "sources" / "00-jump.mp4", Clip(source, world.FPS))
    for setting, frames in (("both", edit), ("text", source), ("audio", source)):
        cell = f"cells/{setting}/00-jump-42"
        write_clip(folder / cell / "edited.mp4", Clip(frames, world.FPS))
        write_clip(folder / cell / "baseline.mp4", Clip(source, world.FPS))
        words = scene.prompts()[0]
        rows.append(
            {"setting": setting, "task": "00-jump", "prompt": words, "folder": cell, "seed": 42}
        )
    with (folder / "cells.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    command = ["benchmarks/paper_figures.py", "table_1", str(folder), str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, *command, "--metrics", "l1"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header, line = next(
        (lines[at - 2], line) for at, line in enumerate(lines) if line.startswith("| Alignment |")
    )
    assert header == "| points, mean [95 % interval] | prompt only | both | text | audio |"
    before, both, text, audio = map(float, line.strip(" |").split(" | ")[1:])
    assert both == 10 > text == audio == before
    assert "| text - both | -" in done.stdout
    assert "| Alignment | 7.3 | 7.1 | 7.5 |" in lines  # the paper's
    assert (tmp_path / "out" / "sheets" / "00-jump-42.png").is_file()
    assert (tmp_path / "out" / "index.html").is_file()
