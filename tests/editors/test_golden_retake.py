"""Whole tiny Retakes and their gradients against the official implementation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.editors.conditioning import unpack_audio, unpack_video
from sparks.editors.controls import Controls
from sparks.editors.ltx2_denoiser import LTX2Denoiser, sample
from sparks.editors.sampler import Counter
from tests.editors.golden import (
    cases,
    conditioning_of,
    guidance_of,
    read_tensors,
    sampling_of,
    start_of,
    tiny_transformer,
    tolerance,
)

CASES = [pytest.param(case, id=case["name"]) for case in cases("retake_cases.json")]
GRADIENTS = [pytest.param(case, id=case["name"]) for case in cases("gradients.json")]
FORWARD = tolerance("forward_abs")


def expected(case: dict[str, Any], name: str) -> Tensor:
    return read_tensors("retake_cases.safetensors")[f"{case['name']}/{name}"]


def assert_close(actual: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(actual, wanted, atol=FORWARD, rtol=0)


def run(case: dict[str, Any], counter: Counter | None = None, **options: Any) -> list[Any]:
    """States after every step, the initial one excluded."""
    conditioning, states = conditioning_of(case), []
    sample(
        tiny_transformer(),
        conditioning,
        start_of(conditioning),
        sampling=sampling_of(case, **options),
        guidance=guidance_of(case),
        counter=counter,
        on_step=lambda _, video, audio: states.append((video, audio)),
    )
    return states


@pytest.mark.parametrize("case", CASES)
def test_states_in_float32_positions(case: dict[str, Any]) -> None:
    counter = Counter()
    states = run(case, counter)
    for step, name in ((1, "step1"), (case["mid_step"], "mid"), (case["steps"], "final")):
        assert_close(states[step - 1][0], expected(case, f"fp32pos/video_{name}"))
        assert_close(states[step - 1][1], expected(case, f"fp32pos/audio_{name}"))
    video = unpack_video(states[-1][0], tuple(case["latent_shape"]))
    audio = unpack_audio(states[-1][1], expected(case, "alpha").shape[1])
    assert_close(video, expected(case, "fp32pos/video_final_unpacked"))
    assert_close(audio, expected(case, "fp32pos/audio_final_unpacked"))
    assert counter == Counter(forwards=case["info"]["transformer_calls"])


@pytest.mark.parametrize("case", CASES)
def test_states_in_bfloat16_positions(case: dict[str, Any]) -> None:
    states = run(case, coords_dtype="bfloat16")
    for step, name in ((0, "step1"), (-1, "final")):
        assert_close(states[step][0], expected(case, f"bf16pos/video_{name}"))
        assert_close(states[step][1], expected(case, f"bf16pos/audio_{name}"))


@pytest.mark.parametrize("case", CASES)
def test_passes_of_the_first_step(case: dict[str, Any]) -> None:
    conditioning, sampling = conditioning_of(case), sampling_of(case)
    controls, guidance = start_of(conditioning), guidance_of(case)
    with torch.no_grad():
        denoiser = LTX2Denoiser(tiny_transformer(), conditioning, controls, sampling, guidance)
        states = denoiser.start()
        passes = {
            name: denoiser.predict(name, states, sampling.sigmas[0]) for name in denoiser.passes
        }
    assert_close(states[0], expected(case, "init_video"))
    assert_close(states[1], expected(case, "init_audio"))
    assert_close(denoiser.arguments["video_coords"], expected(case, "video_positions"))
    assert_close(denoiser.arguments["audio_coords"], expected(case, "audio_positions"))
    assert list(passes) == case["info"]["passes"]
    for name, (video, audio) in passes.items():
        assert_close(video, expected(case, f"fp32pos/step0_x0_video_{name}"))
        assert_close(audio, expected(case, f"fp32pos/step0_x0_audio_{name}"))


@pytest.mark.parametrize("mode", ["full", "reference", "direct"])
@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients(case: dict[str, Any], mode: str) -> None:
    base = next(c for c in cases("retake_cases.json") if c["name"] == case["base_case"])
    data, name = read_tensors("gradients.safetensors"), case["name"]
    conditioning, counter = conditioning_of(base), Counter()
    alpha = conditioning.alpha_0.clone().requires_grad_()
    residual = data[f"{name}/text_residual"].clone().requires_grad_()
    grad_steps = case["steps"] if mode == "full" else case["last_n"]
    alpha_gradient = "reference" if mode == "full" else mode
    video, _ = sample(
        tiny_transformer(),
        conditioning,
        Controls(alpha, residual),
        sampling=sampling_of(base, grad_steps=grad_steps, alpha_gradient=alpha_gradient),
        guidance=guidance_of(base),
        gradient=True,
        counter=counter,
    )
    video = unpack_video(video, tuple(base["latent_shape"]))
    assert_close(video.detach(), data[f"{name}/video_final_unpacked"])
    (video * data[f"{name}/w"]).sum().backward()
    # Where the state is detached and alpha not attached yet, the negative pass has no graph.
    idle = mode == "reference" and "uncond" in base["info"]["passes"]
    passes = base["info"]["transformer_calls"] // case["steps"]
    assert counter.backwards == grad_steps * passes - idle
    for leaf, key in ((alpha, "grad_alpha"), (residual, "grad_text")):
        wanted = data[f"{name}/{mode}/{key}"]
        assert leaf.grad is not None
        error = (leaf.grad - wanted).norm() / wanted.norm()
        assert error < tolerance("gradient_relative_norm")
