"""Metrics by name and group, `sparks measure`, the check of metrics, and SAM 2."""

import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from sparks.errors import SparksError
from sparks.evaluation.metrics.flow import Motion
from sparks.evaluation.metrics.masks import moving_parts, subject
from sparks.evaluation.metrics.measuring import Measured, choose, figures, measure
from sparks.evaluation.metrics.pairs import match
from sparks.evaluation.metrics.sam2 import Sam2
from sparks.media.clip import Clip, write_clip
from sparks.models.weights import weights_path
from sparks.pocket.tasks import default_task
from sparks.registry import metrics
from sparks.runs.edit import edit
from sparks.search.metrics import Edited, Figure, Measurement, Unavailable
from sparks.testing import check_metric
from tests.evaluation.clips import FPS, pair, pulses, sliding, still
from tests.evaluation.sam import write_sam2
from tests.workplace import Sparks

MINE = """
from sparks.search.metrics import Figure, Measurement


class Red:
    group = "mine"
    figures = {"redness": Figure("how red", ".2f")}

    def measure(self, edited):
        return Measurement({"redness": float(edited.edit.frames[:, 0].mean())})
"""


class Brightness:
    group = "plain"
    figures = {"brightness": Figure("brightness", ".2f")}  # noqa: RUF012

    def measure(self, edited: Edited) -> Measurement:
        return Measurement({"brightness": float(edited.edit.frames.mean())})


class Unnamed(Brightness):
    group = ""


class Other(Brightness):
    def measure(self, edited: Edited) -> Measurement:
        return Measurement({"darkness": 0.0})


class Infinite(Brightness):
    def measure(self, edited: Edited) -> Measurement:
        return Measurement({"brightness": float("nan")})


class Random(Brightness):
    def measure(self, edited: Edited) -> Measurement:
        return Measurement({"brightness": float(torch.rand(()))})


class Writing(Brightness):
    def measure(self, edited: Edited) -> Measurement:
        edited.edit.frames.mul_(0.5)
        return super().measure(edited)


class Misspelt(Brightness):
    figures = {"how bright": Figure("brightness")}  # noqa: RUF012


def full_pair() -> Edited:
    clip = Clip(sliding(), FPS, pulses([6]), 16000)
    said = {"prompt": "a red ball jumps", "static_prompt": "a red ball stays still"}
    return Edited(Clip(still(), FPS), clip, **said, kept=5, model=weights_path())


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_keeps_its_promises(name: str) -> None:
    check_metric(metrics.get(name)(), full_pair())


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Unnamed(), "group is ''"),
        (Other(), "measure gives"),
        (Infinite(), "brightness is nan; give None"),
        (Random(), "the same pair gave"),
        (Writing(), "changed the frames"),
        (Misspelt(), "'how bright' cannot be a column"),
    ],
)
def test_bad_metrics_fail_the_check(metric: Brightness, message: str) -> None:
    check_metric(Brightness(), full_pair())
    with pytest.raises(AssertionError, match=message):
        check_metric(metric, full_pair())


def test_groups_and_names() -> None:
    assert set(choose("all").metrics) == set(metrics.names())
    assert set(choose("motion,l1").metrics) == {"movement", "timing", "l1"}
    assert choose("motion,l1").named == {"l1"}
    with pytest.raises(SparksError, match="no metric or group 'beauty'; groups: all, "):
        choose("beauty")


def test_what_was_chosen_by_group_may_be_missing_and_what_was_named_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    edited = replace(full_pair(), model=None)
    found = measure(edited, choose("perceptual"))
    assert set(found.missing) == {"lpips", "background"}
    assert "AlexNet" in found.missing["lpips"]
    assert set(found.figures) == {"ms_ssim"}
    with pytest.raises(Unavailable, match="AlexNet"):
        measure(edited, choose("lpips"))


def test_the_titles_of_all_figures_differ() -> None:
    titles = [figure.title for figure in figures().values()]
    assert len(set(titles)) == len(titles) > 20


def test_clips_of_another_size_rate_and_length_are_brought_together() -> None:
    edit = Clip(still(9), FPS)
    source = Clip(torch.rand(60, 3, 128, 192), Fraction(25))
    first, second, said = match(edit, source)
    assert first.frames.shape == second.frames.shape == (9, 3, 96, 96)
    assert (first.fps, second.fps) == (FPS, FPS)
    assert said == [
        "source of 192x128 brought to 96x96",
        "source of 25 frames/s taken at 12.5",
        "source of 30 frames cut to 9",
    ]
    _, shorter, said = match(edit, Clip(still(5), FPS))
    assert (len(shorter.frames), said) == (5, ["edit of 9 frames cut to 5"])


def test_sam_2_follows_what_moves(tmp_path: Path) -> None:
    folder = str(write_sam2(tmp_path / "sam"))
    frames = sliding(3, start=0, frames=9)
    edited = pair(frames, frames, using={"sam2": folder})
    mask, how = subject(edited)
    assert how == f"SAM 2 {folder}"
    assert mask.shape == (9, 96, 96)
    assert 0 < mask.float().mean() < 1
    moving = moving_parts(Motion(Clip(frames, FPS)))
    network = Sam2(folder)
    assert network.follow(frames, moving).equal(mask)
    elsewhere = moving.copy()
    elsewhere[:] = False
    elsewhere[0, :8, :8] = True
    assert not network.follow(frames, elsewhere).equal(mask)
    assert not network.follow(frames, moving & False).any()


# --- the command


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    write_clip(tmp_path / "source.mp4", Clip(still(), FPS))
    write_clip(tmp_path / "edit.mp4", Clip(sliding(), FPS))
    return tmp_path


def test_two_videos_are_measured(sparks: Sparks, videos: Path) -> None:
    command = ("measure", "edit.mp4", "--source", "source.mp4", "--kept", "5", "--model", "pocket")
    code, out, err = sparks(*command, "--prompt", "a red ball jumps", "--output", "all.json")
    assert code == 0, err
    assert "| dynamic degree (fastest 5 %, sides/s) | 0.2" in out
    assert "- lpips: the trunk in weights/perceptual" in out
    written = json.loads((videos / "all.json").read_text())["edit.mp4"]
    assert written["missing"] == {}
    assert len(written["curves"]["speed"]) == 16
    assert set(written["figures"]) == set(figures())


def test_a_metric_of_ones_own(sparks: Sparks, videos: Path) -> None:
    (videos / "mine.py").write_text(MINE)
    code, out, err = sparks(
        *("measure", "edit.mp4", "--source", "source.mp4", "--metrics", "mine.py:Red", "--json")
    )
    assert code == 0, err
    assert list(json.loads(out)["edit.mp4"]["figures"]) == ["redness"]


def test_what_cannot_be_measured_is_listed(
    sparks: Sparks, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(videos))
    code, out, err = sparks("measure", "edit.mp4", "--source", "source.mp4")
    assert code == 0, err
    assert "- not measured: lpips: LPIPS needs AlexNet at" in out
    assert "- not measured: clip: no CLIP at" in out


def test_only_what_was_measured_is_read_back() -> None:
    found = Measured({"l1": 0.25, "lag": None}, {"lpips": "no weights"}, {}, {"flow": [0.0, 1.0]})
    assert Measured.of(json.loads(json.dumps(found.as_json()))) == found
    for odd in (
        None,
        [],
        3,
        {"figures": 3},
        {"figures": {"l1": "="}},
        {"curves": {"flow": [math.nan]}},
    ):
        assert Measured.of(odd) == Measured()


def test_a_run_is_measured(sparks: Sparks, tmp_path: Path) -> None:
    source = default_task().source
    source.write(tmp_path / "ball.mp4")
    task = default_task()
    settings = {
        "video": "ball.mp4",
        "prompt": task.prompt,
        "static_prompt": task.static_prompt,
        "prefix_frames": 5,
        "budget": "renders=1",
    }
    edit(settings, tmp_path / "run", pictures=False)
    code, out, err = sparks("measure", "run", "--metrics", "preservation,motion", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found) == {"baseline", "edited"}
    for one in found.values():
        assert one["figures"]["prefix_error"] < 0.03  # the codec's own
        assert one["figures"]["l1"] < 0.1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["edited"] == found["edited"]
    (tmp_path / "ball.mp4").rename(tmp_path / "moved.mp4")
    code, _, err = sparks("measure", "run")
    assert code == 2
    assert "ball.mp4, which is not there; say --source VIDEO" in err
    assert sparks("measure", "run", "--source", "moved.mp4", "--metrics", "l1")[0] == 0
    code, _, err = sparks("measure", "run", "--prompt", "a")
    assert "run is a run, which knows" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edit.mp4",), "say what edit.mp4 is an edit of: --source VIDEO"),
        (("gone.mp4", "--source", "source.mp4"), "no video file at gone.mp4"),
        (("edit.mp4", "--source", "source.mp4", "--with", "clip"), "--with 'clip': write e.g."),
        (("edit.mp4", "--source", "source.mp4", "--metrics", "x"), "no metric or group 'x'"),
        ((".",), "no finished run at ."),
    ],
)
def test_what_the_command_refuses(
    sparks: Sparks, videos: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = sparks("measure", *arguments)
    assert (code, out) == (2, "")
    assert message in err
