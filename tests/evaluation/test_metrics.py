"""Every metric on clips that were made so that the answer is known."""

import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.evaluation.metrics.flow import Motion
from sparks.evaluation.metrics.masks import read_mask, subject
from sparks.evaluation.metrics.movement import Movement, Timing
from sparks.evaluation.metrics.preservation import Colour, Locality, Prefix
from sparks.evaluation.metrics.similarity import (
    L1,
    Background,
    Lpips,
    MsSsim,
    _window,
    ms_ssim,
    normalised,
)
from sparks.evaluation.metrics.sound import SoundLag
from sparks.evaluation.metrics.steadiness import Cuts, Flicker, Warping
from sparks.evaluation.metrics.text import Clip as ClipMetric
from sparks.media.clip import Clip, write_clip
from sparks.models.weights import weights_path
from sparks.search.metrics import Edited, Metric, Unavailable
from tests.evaluation.clips import (
    FPS,
    FRAMES,
    SIDE,
    pair,
    panning,
    pulses,
    sliding,
    square,
    still,
    texture,
)


def figures(metric: Metric, edited: Edited) -> dict[str, float]:
    return dict(metric.measure(edited).figures)  # type: ignore[arg-type]


# --- motion


def test_a_shift_of_three_pixels_is_found_as_three_pixels() -> None:
    motion = Motion(Clip(panning(3), FPS))
    assert np.median(motion.flow[..., 0]) == pytest.approx(3, abs=0.05)
    assert np.median(motion.back[..., 0]) == pytest.approx(-3, abs=0.05)
    assert abs(np.median(motion.flow[..., 1])) < 0.05
    found = figures(Movement(), pair(panning(3)))
    assert found["global_drift"] == pytest.approx(3 * 12.5 / SIDE, rel=0.03)
    assert found["dynamic_degree"] < 0.1  # the camera's motion is no motion of a subject


def test_a_coloured_thing_on_a_ground_as_bright_as_it_is_seen() -> None:
    frames = torch.full((9, 3, SIDE, SIDE), 0.5)
    for t, frame in enumerate(frames):
        frame[:, 40:56, 20 + 3 * t : 36 + 3 * t] = torch.tensor([0.9, 0.3, 0.45])[:, None, None]
    speed = Motion(Clip(frames, FPS)).speed
    assert np.quantile(speed, 0.97) == pytest.approx(3 * 12.5 / SIDE, rel=0.15)


def test_a_square_that_slides_moves_by_its_speed_in_its_share_of_the_picture() -> None:
    found = figures(Movement(), pair(sliding(3, start=0)))
    speed = 3 * 12.5 / SIDE
    assert found["dynamic_degree"] == pytest.approx(speed, rel=0.1)
    assert found["moves"] == 1
    assert found["global_drift"] < 0.01
    share = 24 * 24 / SIDE**2  # mean over root mean square of what moves in a share s is sqrt(s)
    assert found["motion_flatness"] == pytest.approx(share**0.5, rel=0.25)


def test_what_stands_still_does_not_move() -> None:
    found = figures(Movement(), pair(still()))
    assert found["dynamic_degree"] < 0.01
    assert (found["moves"], found["motion_flatness"]) == (0, None)
    assert figures(Timing(), pair(still())) == {"motion_onset": None, "motion_peak": None}


def test_onset_and_peak_are_those_of_the_frames_that_change() -> None:
    slow = [10 + 2 * max(0, t - 5) for t in range(FRAMES)]
    slow[12:] = [place + 2 for place in slow[12:]]  # the greatest change shows in frame 12
    found = figures(Timing(), pair(square(slow)))
    assert found["motion_onset"] == pytest.approx(6 / 12.5)
    assert found["motion_peak"] == pytest.approx(12 / 12.5)


# --- steadiness


def test_flicker_of_a_known_size() -> None:
    sign = torch.tensor([(-1.0) ** t for t in range(FRAMES)])[:, None, None, None]
    found = figures(Flicker(), pair(still() + 0.05 * sign))
    assert found["flicker"] == pytest.approx(0.1, abs=1e-5)
    assert found["acceleration"] == pytest.approx(0.2, abs=1e-5)
    ramp = 0.01 * torch.arange(FRAMES)[:, None, None, None]
    found = figures(Flicker(), pair(still() * 0.5 + ramp))
    assert found["flicker"] == pytest.approx(0.01, abs=1e-5)
    assert found["acceleration"] == pytest.approx(0, abs=1e-5)


def test_a_pan_has_no_warping_error_but_flicker_has() -> None:
    panned = figures(Warping(), pair(panning(3)))["warping_error"]
    assert panned < 0.01
    assert panned < figures(Flicker(), pair(panning(3)))["flicker"] / 5
    sign = torch.tensor([(-1.0) ** t for t in range(FRAMES)])[:, None, None, None]
    found = figures(Warping(), pair(still() + 0.05 * sign))["warping_error"]
    assert found == pytest.approx(0.1, rel=0.1)


def test_what_is_covered_is_left_out_of_the_warping_error() -> None:
    motion = Motion(Clip(sliding(3, start=0), FPS))
    covered = ~motion.visible()
    left = 10 + 3 * 8 + 24  # the column that the square covers next
    assert covered[8, 40:56, left : left + 3].mean() > 0.5
    assert covered[8, :, :8].mean() < 0.05


def test_a_cut_is_one_cut_and_a_pan_is_none() -> None:
    cut = torch.cat([still(8), still(9, seed=4)])
    assert figures(Cuts(), pair(cut))["scene_cuts"] == 1
    assert figures(Cuts(), pair(panning(3)))["scene_cuts"] == 0
    assert figures(Cuts(), pair(sliding()))["scene_cuts"] == 0


def test_a_square_that_is_there_at_once_changes_its_share_of_the_picture() -> None:
    found = figures(Cuts(), pair(square([None] * 8 + [30] * 9)))
    assert found["sudden_change"] == pytest.approx(24 * 24 / SIDE**2, rel=0.15)
    assert figures(Cuts(), pair(sliding()))["sudden_change"] < 0.01


# --- preservation


def test_a_prefix_that_was_changed_by_a_known_amount() -> None:
    edit = still()
    edit[:5] += 0.02
    found = figures(Prefix(), pair(edit, kept=5))
    assert found["prefix_error"] == pytest.approx(0.02, abs=1e-6)
    assert found["seam_jump"] == pytest.approx(0.02, abs=1e-6)
    assert figures(Prefix(), pair(still(), kept=5)) == {"prefix_error": 0, "seam_jump": 0}
    assert figures(Prefix(), pair(edit)) == {"prefix_error": None, "seam_jump": None}


def test_a_steady_motion_over_the_seam_is_no_jump() -> None:
    assert abs(figures(Prefix(), pair(sliding(3, start=0), kept=5))["seam_jump"]) < 2e-3


def test_change_is_shared_out_between_subject_and_ground() -> None:
    frames = sliding(3, start=0)
    edit = frames.clone()
    edit[:, :, :20] += 0.1  # a fifth of the picture, away from the square
    mask, how = subject(pair(edit, frames))
    assert how == "flow and GrabCut"
    assert mask[:, 40:56].any()
    assert not mask[:, :15].any()
    found = figures(Locality(), pair(edit, frames))
    ground = float((~mask).sum())
    assert found["change_inside"] == pytest.approx(0, abs=1e-6)
    assert found["change_outside"] == pytest.approx(0.1 * 20 * SIDE * FRAMES / ground, rel=1e-3)
    assert found["locality"] == pytest.approx(0, abs=1e-5)
    everywhere = figures(Locality(), pair(frames + 0.1, frames))
    assert everywhere["locality"] == pytest.approx(0.5, abs=1e-3)


def test_the_mask_without_weights_covers_the_square_and_little_else() -> None:
    frames = sliding(3, start=0)
    mask, _ = subject(pair(frames, frames))
    truth = torch.zeros(FRAMES, SIDE, SIDE, dtype=torch.bool)
    for t in range(FRAMES):
        truth[t, 36:60, 10 + 3 * t : 34 + 3 * t] = True
    both = (mask & truth).sum() / (mask | truth).sum()
    assert both > 0.6
    assert (mask & truth).sum() / truth.sum() > 0.9


def test_a_mask_of_ones_own(tmp_path) -> None:
    white = torch.zeros(FRAMES, 3, SIDE, SIDE)
    white[:, :, :48] = 1
    write_clip(tmp_path / "mask.mp4", Clip(white, FPS))
    edit = still()
    edit[:, :, :48] += 0.1
    using = {"mask": str(tmp_path / "mask.mp4")}
    measured = Locality().measure(pair(edit, using=using))
    assert measured.figures["locality"] == pytest.approx(1, abs=0.05)
    assert measured.using["mask"] == f"mask video {tmp_path / 'mask.mp4'}"
    with pytest.raises(SparksError, match="has 17 frames, the edit 18"):
        read_mask(using["mask"], still(18))


def test_colours_that_are_brighter_drift_and_things_that_move_do_not() -> None:
    assert figures(Colour(), pair(still() + 0.1))["colour_drift"] == pytest.approx(0.1, abs=1e-6)
    moved = figures(Colour(), pair(still().roll(9, dims=-1)))["colour_drift"]
    assert moved == pytest.approx(0, abs=1e-6)


# --- sound


@pytest.mark.parametrize("lag", [2, 0, -3])
def test_motion_that_comes_some_frames_after_the_sound(lag: int) -> None:
    moves = [6, 11]  # frames in which the square is elsewhere than in the one before
    at, place = [], 10
    for t in range(FRAMES):
        place += 8 * (t in moves)
        at.append(place)
    clip = Clip(square(at), FPS, pulses([move - lag for move in moves]), 16000)
    found = figures(SoundLag(), Edited(clip, clip))
    assert found["sound_lag"] == pytest.approx(lag / 12.5)
    assert found["sound_correlation"] > 0.9


def test_without_sound_or_without_motion_there_is_no_lag() -> None:
    nothing = {"sound_lag": None, "sound_correlation": None}
    assert figures(SoundLag(), pair(sliding())) == nothing
    clip = Clip(still(), FPS, pulses([4]), 16000)
    assert figures(SoundLag(), Edited(clip, clip)) == nothing


# --- similarity


def test_l1_and_what_is_the_same() -> None:
    assert figures(L1(), pair(still() + 0.1))["l1"] == pytest.approx(0.1, abs=1e-6)
    same = pair(still(), model=weights_path())
    assert figures(Lpips(), same)["lpips"] == 0
    assert figures(MsSsim(), same)["ms_ssim"] == pytest.approx(1, abs=1e-5)


def test_lpips_and_ms_ssim_grow_with_the_noise() -> None:
    noise = torch.randn(FRAMES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    pairs = [
        pair((still() + level * noise).clamp(0, 1), model=weights_path()) for level in (0.02, 0.1)
    ]
    little, much = ({**figures(Lpips(), p), **figures(MsSsim(), p)} for p in pairs)
    assert 0 < little["lpips"] < much["lpips"]
    assert 1 > little["ms_ssim"] > much["ms_ssim"]


def test_the_background_score_is_zero_for_a_change_of_the_subject_alone() -> None:
    source = sliding(3, start=0)
    mask, _ = subject(pair(source, source))
    edit = torch.where(mask[:, None], source * 0.5, source)
    using = {"model": weights_path(), "shared": {"subject": (mask, "known")}}
    assert set(figures(Background(), pair(edit, source, **using)).values()) == {0.0}


def test_the_background_score_is_the_weighted_sum_of_its_parts() -> None:
    source, half = still(), torch.zeros(FRAMES, SIDE, SIDE, dtype=torch.bool)
    half[:, :48] = True
    edit = source.clone()
    edit[:, :, 48:] += 0.1
    edit[:, :, :48] = 0  # of the subject: must not count
    measured = Background().measure(
        pair(edit, source, model=weights_path(), shared={"subject": (half, "known")})
    )
    found = dict(measured.figures)
    assert found["bg_l1"] == pytest.approx(0.1, abs=1e-5)
    parts = 0.5 * found["bg_lpips"] + 0.3 * found["bg_ms_ssim"] + 0.2 * found["bg_l1"]  # type: ignore[operator]
    assert found["d_bg"] == pytest.approx(parts)
    assert measured.using == {
        "lpips": "the trunk in weights/perceptual",
        "mask": "known",
        "ms_ssim": "window of 5, as the picture is small",
    }


def test_distances_are_brought_to_ten_within_a_scenario() -> None:
    assert normalised({"a": 0.2, "b": 0.4, "c": 0.3}) == pytest.approx({"a": 0, "b": 10, "c": 5})
    assert normalised({"a": 0.2, "b": 0.2}) == {"a": 0, "b": 0}


def test_the_window_of_ms_ssim_fits_the_picture() -> None:
    assert [_window(torch.zeros(1, 3, side, 400)) for side in (320, 161, 96, 33)] == [11, 11, 5, 3]
    images = torch.rand(2, 3, 33, 40)
    assert ms_ssim(images, images).tolist() == pytest.approx([1, 1])
    with pytest.raises(Unavailable, match="33 pixels or more a side, not 32"):
        _window(torch.zeros(1, 3, 32, 400))


# --- text


def test_clip_compares_every_frame_with_both_prompts() -> None:
    said = {"prompt": "a red ball jumps", "static_prompt": "a red ball stays still"}
    measured = ClipMetric().measure(pair(sliding(), model=weights_path(), **said))
    found = dict(measured.figures)
    assert {name: len(curve) for name, curve in measured.curves.items()} == dict.fromkeys(
        ("clip_edit", "clip_static", "clip_gap"), FRAMES
    )
    assert -1 <= found["clip_edit"] <= 1  # type: ignore[operator]
    assert found["clip_gap"] == pytest.approx(found["clip_edit"] - found["clip_static"])  # type: ignore[operator]
    swapped = dict(zip(said, reversed(said.values()), strict=True))
    other = figures(ClipMetric(), pair(sliding(), model=weights_path(), **swapped))
    assert other["clip_gap"] == pytest.approx(-found["clip_gap"], abs=1e-6)  # type: ignore[operator]
    silent = figures(ClipMetric(), pair(sliding(), model=weights_path(), prompt="a red ball jumps"))
    assert (silent["clip_static"], silent["clip_gap"]) == (None, None)


# --- what is missing


@pytest.mark.parametrize(
    ("metric", "using", "message"),
    [
        (Lpips(), {}, "LPIPS needs AlexNet at .* fetch it with python -c"),
        (Lpips(), {"lpips": "nowhere"}, "no perceptual trunk at 'nowhere'"),
        (ClipMetric(), {}, "no CLIP at 'openai/clip-vit-base-patch32'; fetch it with: hf download"),
        (Locality(), {"sam2": "nobody/sam"}, "no SAM 2 at 'nobody/sam'"),
    ],
)
def test_weights_that_are_not_here_are_named(
    metric: Metric, using: dict[str, str], message: str, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(Unavailable, match=message):
        metric.measure(pair(sliding(), prompt="a", using=using))


def test_packages_that_are_not_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cv2", "pytorch_msssim"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unavailable, match=r"pip install 'sound-sparks\[evaluation\]'"):
        Warping().measure(pair(still()))
    with pytest.raises(Unavailable, match=r"pip install 'sound-sparks\[evaluation\]'"):
        MsSsim().measure(pair(still()))


def frames_of(size: int) -> Tensor:
    return texture(size, size).expand(9, 3, size, size).clone()


def test_large_pictures_are_followed_at_a_smaller_size() -> None:
    assert Motion(Clip(frames_of(400), FPS)).pictures.shape == (9, 288, 288, 3)
