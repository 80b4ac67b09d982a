"""Finished edits, of a real bench, as videos that critics learn from."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from sparks.errors import SparksError
from sparks.experiments.bench import plan_bench, run_experiment
from sparks.experiments.tasks import Task
from sparks.media.clip import Clip, read_clip, write_clip
from sparks.pocket import weights_path, world
from sparks.pocket.cli import app
from sparks.pocket.tasks import NEVER_TRAINED, Source, find_task
from sparks.pocket.training.critic import truth
from sparks.pocket.training.finished import read_finished
from sparks.pocket.training.shown import Shown
from sparks.pocket.training.stages import Training, _made_with, _pool, train
from sparks.pocket.words import phrase

CPU = torch.device("cpu")
SOURCE = Source(7, 3, 1, "spin")  # a yellow cross
QUICK = {
    **{"solver": {"name": "random"}, "budget": "qwen_calls=2", "seed": 42, "device": "cpu"},
    "sampling": {"num_inference_steps": 2, "grad_steps": 1},
}


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a bench of one task at two seeds leaves."""
    folder = tmp_path_factory.mktemp("benched") / "bench"
    task = Task("00-jump", SOURCE, phrase("yellow", "cross", "jump"), prefix_frames=5)
    run_experiment(folder, plan_bench(QUICK, [task], seeds=2))
    return folder


@pytest.fixture
def bench(benched: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(benched, tmp_path / "bench"))


def labels(clips: Shown) -> list[bool]:
    """Whether each shows what was asked for."""
    scenes = clips.scenes
    asked = (scenes.colour, scenes.shape, scenes.action, torch.zeros(len(clips)).long())
    return [bool(label) for label in truth(clips, asked)[0]]


def rewrite(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_bench_is_read_as_its_rows_measured_it(benched: Path, tmp_path: Path) -> None:
    finished = read_finished([benched])
    rows = [json.loads(path.read_text()) for path in sorted(benched.glob("cells/*/*/row.json"))]
    videos = [benched / row["folder"] / f"{n}.mp4" for n in ("edited", "baseline") for row in rows]
    true = [row[f"true_{name}"] for name in ("edited", "baseline") for row in rows]
    clips = finished.shown(tmp_path, CPU)
    assert len(finished) == len(clips) == len(videos) == 4
    for frames, video in zip(clips.frames, videos, strict=True):
        assert torch.equal(frames, (255 * read_clip(video).frames).round().byte())
    assert labels(clips) == true
    scenes = SOURCE.scene().acting("jump")
    assert torch.equal(clips.scenes.action, scenes.action.expand(4))
    assert torch.equal(clips.scenes.x, scenes.x.expand(4))


def test_what_happened_is_measured_and_no_video_counts_twice(bench: Path, tmp_path: Path) -> None:
    first, second = sorted(bench.glob("cells/*/*"))
    jumping = world.render(SOURCE.scene().acting("jump"))[0]
    for cell, video in ((first, jumping), (second, still := jumping[:1].expand_as(jumping))):
        write_clip(cell / "edited.mp4", Clip(video, world.FPS))
        write_clip(cell / "baseline.mp4", Clip(still, world.FPS))
    again = read_finished([bench, bench])
    assert labels(again.shown(tmp_path, CPU)) == [True, False]
    assert again.digest == read_finished([bench]).digest


def test_what_takes_a_while_to_see_is_seen_once(
    benched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = read_finished([benched])
    once = finished.shown(tmp_path, CPU)
    monkeypatch.setattr("sparks.pocket.training.shown.likeness", None)
    again = finished.shown(tmp_path, CPU)
    assert torch.equal(once.kept, again.kept)
    assert torch.equal(once.strengths, again.strengths)


def test_processes_share_the_videos(
    benched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = read_finished([benched])

    def share(rank: int, size: int) -> Tensor:
        monkeypatch.setattr("sparks.pocket.training.parallel.rank", lambda: rank)
        monkeypatch.setattr("sparks.pocket.training.parallel.size", lambda: size)
        return finished.shown(tmp_path, CPU).frames

    assert torch.equal(share(0, 3), finished.frames[::3])
    assert torch.equal(share(2, 3), finished.frames[2:3])
    assert torch.equal(share(5, 6), finished.frames[1:2])  # rather than none


@pytest.mark.parametrize("seed", NEVER_TRAINED)
def test_what_is_held_out_stays_so(bench: Path, seed: int) -> None:
    rewrite(bench / "plan.json", lambda plan: plan["tasks"][0]["source"].update(seed=seed))
    name = NEVER_TRAINED[seed]
    with pytest.raises(SparksError, match=f"bench has tasks of {name}, which is held out"):
        read_finished([bench])


def test_lists_that_are_held_out_are_known_by_their_seeds() -> None:
    assert find_task("test40/00-jump").source.seed in NEVER_TRAINED
    assert find_task("dev40/00-jump").source.seed not in NEVER_TRAINED


@pytest.mark.parametrize(
    "change",
    [
        {"source": "own.mp4"},
        {"prompt": "a yellow cross dreams"},
        {"prompt": "a red ball jumps"},  # which is not what acts
        {"name": "another"},
    ],
    ids=str,
)
def test_edits_without_a_truth_are_left_out(bench: Path, change: dict[str, str]) -> None:
    rewrite(bench / "plan.json", lambda plan: plan["tasks"][0].update(change))
    with pytest.raises(SparksError, match="bench has no finished edit of a clip of the pocket"):
        read_finished([bench])


def test_edits_that_are_not_finished_are_left_out(bench: Path) -> None:
    one, other = bench.glob("cells/*/*/row.json")
    one.unlink()
    assert len(read_finished([bench])) == 2
    other.unlink()
    with pytest.raises(SparksError, match="bench has no finished edit"):
        read_finished([bench])


@pytest.mark.parametrize(
    ("frames", "fps", "problem"),
    [
        (torch.zeros(25, 3, 64, 96), world.FPS, "25 frames of 96x64 at 12.5 fps"),
        (torch.zeros(17, 3, 96, 96), world.FPS, "17 frames of 96x96 at 12.5 fps"),
        (torch.zeros(25, 3, 96, 96), 2 * world.FPS, "25 frames of 96x96 at 25 fps"),
    ],
    ids=["size", "length", "rate"],
)
def test_clips_of_another_shape_are_refused(
    bench: Path, frames: Tensor, fps: Any, problem: str
) -> None:
    write_clip(next(bench.glob("cells/*/*")) / "baseline.mp4", Clip(frames, fps))
    with pytest.raises(SparksError, match=rf"baseline.mp4 has {problem}; critics learn from 25 of"):
        read_finished([bench])


def test_folders_of_other_things_are_refused(bench: Path, tmp_path: Path) -> None:
    with pytest.raises(SparksError, match=r"cannot read .*nowhere/plan\.json: No such file"):
        read_finished([tmp_path / "nowhere"])
    rewrite(bench / "plan.json", lambda plan: plan["tasks"][0].pop("prompt"))
    with pytest.raises(SparksError, match=r"plan\.json: tasks\.0\.prompt: Field required"):
        read_finished([bench])


def test_a_critic_goes_on_from_edits_of_both_kinds(benched: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    for part in ("vae", "audio_vae", "critic", "transformer", "connectors"):
        shutil.copytree(weights_path() / part, model / part)
    training = Training(model, tmp_path / "model.work", CPU, warm=True)
    scenes = world.draw(3, 5)
    made = {"frames": (255 * world.render(scenes)).byte(), "kept": torch.ones(3).bool()}
    training.work.mkdir()
    torch.save({**made, **vars(scenes)}, training.work / f"edits-0-{_made_with(training)}.pt")
    finished = read_finished([benched])
    pool = _pool(replace(training, finished=finished))
    assert torch.equal(pool.frames, torch.cat([made["frames"], finished.frames]))

    before = (model / "critic" / "model.safetensors").read_bytes()
    more = ["--scale", "0.0003", "--batch", "0.02", "--device", "cpu", "--edits", str(benched)]
    done = CliRunner().invoke(
        app, ["train", "--output", str(model), "--stages", "critic", "--warm", *more]
    )
    assert done.exit_code == 0, done.exception
    assert "4 videos of finished edits" in done.output
    assert (training.states / finished.digest / "critic.state.pt").is_file()
    assert (model / "critic" / "model.safetensors").read_bytes() != before


def test_stages_that_learn_from_no_edits_take_none(benched: Path, tmp_path: Path) -> None:
    training = Training(
        tmp_path / "model", tmp_path / "work", CPU, finished=read_finished([benched])
    )
    with pytest.raises(SparksError, match="stages edits learn nothing from finished edits"):
        train(training, ["edits"])
    assert not training.output.exists()
