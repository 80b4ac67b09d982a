"""Schedules, masks and guidance against the official implementation."""

from typing import Any

import pytest
import torch

from sparks.editors.guidance import ModalityGuidance, combine
from sparks.editors.masking import (
    audio_latent_frames,
    audio_window_mask,
    prefix_mask,
    preserved_latents,
    video_window_mask,
)
from sparks.editors.schedule import Sampling, shifted_sigmas
from tests.editors.golden import cases, read_json, read_tensors, tolerance


@pytest.mark.parametrize("steps", read_json("schedules.json")["ltx2"])
def test_ltx2_schedule(steps: str) -> None:
    wanted = read_json("schedules.json")["ltx2"][steps]
    assert shifted_sigmas(int(steps)) == pytest.approx(wanted, abs=tolerance("schedule_abs"))


def test_distilled_schedule() -> None:
    assert list(Sampling(schedule="distilled").sigmas) == read_json("schedules.json")["distilled"]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_schedules_descend_to_zero(steps: int) -> None:
    sigmas = shifted_sigmas(steps)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(1, abs=1e-6)
    assert list(sigmas) == sorted(sigmas, reverse=True)
    assert sigmas[-1] == 0


def test_window_masks() -> None:
    for case in cases("masks.json"):
        window = (case["start_time"], case["end_time"])
        video = video_window_mask(case["latent_frames"], window, case["fps"], 8)
        audio = audio_window_mask(case["audio_latent_frames"], window)
        assert video.int().tolist() == case["video"], case
        assert audio.int().tolist() == case["audio"], case


def test_audio_latent_counts() -> None:
    for case in cases("masks.json"):
        count = audio_latent_frames(case["num_pixel_frames"], case["fps"])
        assert count == case["audio_latent_frames"], case


def test_prefix_masks_follow_the_integer_rule() -> None:
    for case in cases("masks.json"):
        if case["K"] is None:
            continue
        kept = preserved_latents(case["K"], 8)
        assert kept == case["preserved_by_integer_rule"], case
        if not case["rounding_edge"]:
            assert prefix_mask(case["latent_frames"], kept).int().tolist() == case["video"], case


@pytest.mark.parametrize("case", cases("guider.json"), ids=lambda case: case["output"])
def test_guidance(case: dict[str, Any]) -> None:
    data = read_tensors("guider.safetensors")
    scales = ("cfg_scale", "stg_scale", "modality_scale", "rescale_scale")
    guidance = ModalityGuidance(*(case[name] for name in scales))
    letters = {"cond": "c", "uncond": "u", "perturbed": "p", "isolated": "q"}
    # The official spread runs over the whole batch: show it the batch as one row.
    given = {
        name: data[f"{case['set']}/{letter}"].flatten(0, 1)[None]
        for name, letter in letters.items()
    }
    needed = {name for name in given if case.get(f"needs_{letters[name]}", False)}
    assert set(guidance.weights) == needed
    actual = combine(guidance, {name: given[name] for name in {"cond", *needed}})
    wanted = data[case["output"]].flatten(0, 1)[None]
    torch.testing.assert_close(actual, wanted, atol=tolerance("guider_abs"), rtol=0)
