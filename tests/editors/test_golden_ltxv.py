"""Numbers of the `ltx-video` package on a tiny model, made by `tests/golden/ltxv/make.py`."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.editors.conditioning import unpack_video
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.ltxv import LTXVEditor
from sparks.editors.ltxv_denoiser import (
    LTXVConditioning,
    LTXVDenoiser,
    perturbed,
    video_coordinates,
)
from sparks.editors.sampler import denoise
from sparks.editors.schedule import Sampling
from sparks.media.clip import Clip
from tests.editors.ltxv_model import make_scheduler, make_tokenizer

FOLDER = Path(__file__).parents[1] / "golden" / "ltxv"
TOLD: dict[str, Any] = json.loads((FOLDER / "cases.json").read_text())
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@cache
def tensors(name: str) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(FOLDER / f"{name}.safetensors")


@cache
def network(name: str) -> Any:
    import diffusers

    kinds = {"transformer": "LTXVideoTransformer3DModel", "vae": "AutoencoderKLLTXVideo"}
    model = getattr(diffusers, kinds[name])(**TOLD[name])
    model.load_state_dict(tensors(name))
    return model.eval().requires_grad_(False)


class Source:
    """The tiny model, with a tokenizer and a scheduler beside it."""

    path = None

    def __init__(self, old: bool) -> None:
        self.old = old

    def __contains__(self, name: str) -> bool:
        return True

    def load(self, name: str, **options: Any) -> Any:
        return make_scheduler(self.old) if name == "scheduler" else make_tokenizer()

    def load_frozen(self, name: str, device: torch.device, dtype: torch.dtype) -> Any:
        return network(name)


@cache
def editor(old: bool = False) -> LTXVEditor:
    return LTXVEditor(
        Source(old),
        "cpu",
        decode_timestep=TOLD["decode_timestep"],
        decode_noise_scale=TOLD["decode_noise_scale"],
    )


def test_coordinates_begin_where_the_package_says() -> None:
    ours = video_coordinates((3, 2, 2), (2, 4), TOLD["fps"], causal=True)
    assert torch.allclose(ours, tensors("cases")["forward/coords"])


@torch.no_grad()
@pytest.mark.parametrize(("blocks", "wanted"), [((), "velocity"), ((1,), "perturbed")])
def test_a_forward_with_a_noise_level_for_each_token(blocks: tuple[int, ...], wanted: str) -> None:
    names = ("hidden_states", "encoder_hidden_states", "encoder_attention_mask")
    given = {name: tensors("cases")[f"forward/{name}"] for name in names}
    timestep = tensors("cases")["forward/timestep"] * 1000
    coords = tensors("cases")["forward/coords"].expand(2, -1, -1)
    model = network("transformer")
    with perturbed(model, frozenset(blocks)):
        velocity = model(**given, timestep=timestep, video_coords=coords, return_dict=False)[0]
    assert torch.allclose(velocity, tensors("cases")[f"forward/{wanted}"], **CLOSE)


@torch.no_grad()
def test_frames_to_a_latent_and_back() -> None:
    frames = (tensors("cases")["codec/frames"].float() + 1) / 2
    codec = editor().codec
    latent = codec.encode(frames[0].transpose(0, 1))
    assert torch.allclose(latent, tensors("cases")["codec/latent"], **CLOSE)
    decoded = codec.decode(latent, TOLD["decode_timestep"])
    pixels = tensors("cases")["codec/decoded"].transpose(1, 2)
    assert torch.allclose(decoded, (pixels / 2 + 0.5).clamp(0, 1), **CLOSE)


@pytest.mark.parametrize("schedule", ["shifted", "linear_quadratic"])
@pytest.mark.parametrize("index", range(len(TOLD["lengths"])))
def test_noise_levels(schedule: Any, index: int) -> None:
    steps, tokens = TOLD["lengths"][index]
    levels = Sampling(num_inference_steps=steps, schedule=schedule).levels(tokens)
    assert levels[-1] == 0
    assert levels[:-1] == pytest.approx(TOLD["schedules"][schedule][index], abs=1e-6)


def test_a_single_step_goes_all_the_way() -> None:
    for schedule in ("shifted", "linear_quadratic"):
        assert Sampling(num_inference_steps=1, schedule=schedule).sigmas == (1, 0)


def conditioning(case: dict[str, Any]) -> LTXVConditioning:
    """As the editor prepares it, under the contexts and the noise that the package was given."""
    data, own = tensors("cases"), editor(not case["causal"])
    frames = (data["codec/frames"].float() + 1) / 2
    clip = Clip(frames[0].transpose(0, 1), Fraction(TOLD["fps"]))
    own.texts._known = {"": (data["loop/negative_context"], data["loop/negative_mask"])}
    own.texts._known["it"] = (data["loop/context"], data["loop/mask"])
    given = own.prepare(clip, "it", prefix_frames=TOLD["prefix_frames"])
    noise = {"noise_video": data["loop/noise"], "noise_decoder": data["loop/decode_noise"]}
    return replace(given, **noise)


def guidance_of(case: dict[str, Any]) -> Guidance:
    # The package rescales only where it perturbs.
    rescale = TOLD["rescale"] if case["stg"] else 0.0
    video = ModalityGuidance(case["guidance"], case["stg"], rescale=rescale)
    return Guidance(video=video, stg_blocks=(TOLD["stg_block"],))


@torch.no_grad()
@pytest.mark.parametrize("name", TOLD["cases"])
def test_a_clip_whose_first_frames_are_kept(name: str) -> None:
    case = TOLD["cases"][name]
    own, given = editor(not case["causal"]), conditioning(case)
    schedule = "linear_quadratic" if case["causal"] else "shifted"
    sampling = Sampling(num_inference_steps=TOLD["steps"], schedule=schedule)
    of = (own.start(given), sampling, guidance_of(case))
    (tokens,) = denoise(LTXVDenoiser(own.transformer, given, *of))
    wanted = tensors("cases")[f"loop/{name}/latent"]
    assert torch.allclose(unpack_video(tokens, given.latent_shape), wanted, rtol=1e-3, atol=1e-4)
    frames = own.render(given, of[0], sampling=sampling, guidance=of[2])
    shown = tensors("cases")[f"loop/{name}/frames"].float().transpose(1, 2)
    assert torch.allclose(frames, shown, atol=1e-3)
