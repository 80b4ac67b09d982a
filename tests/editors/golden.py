"""Numbers of the official LTX-2 Retake, and how to feed them to the editor."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from sparks.editors.conditioning import LTX2Conditioning, pack_video
from sparks.editors.controls import Controls
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.schedule import Sampling

FOLDER = Path(__file__).parents[1] / "golden"


@cache
def read_json(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@cache
def read_tensors(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / name)


def tolerance(name: str) -> float:
    return float(read_json("index.json")["suggested_tolerances"][name])


def cases(name: str) -> list[Any]:
    return list(read_json(name)["cases"])


@cache
def tiny_transformer() -> LTX2VideoTransformer3DModel:
    model = LTX2VideoTransformer3DModel(**read_json("tiny_config.json")["transformer"])
    model.load_state_dict(read_tensors("tiny_model.safetensors"), strict=True)
    return model.eval().requires_grad_(False)


def guidance_of(case: dict[str, Any]) -> Guidance:
    if case["guidance"] is None:
        return Guidance()
    video, audio = case["guidance"]["video"], case["guidance"]["audio"]
    return Guidance(_modality(video), _modality(audio), skip_step=video["skip_step"])


def _modality(given: dict[str, Any]) -> ModalityGuidance:
    names = ("cfg_scale", "stg_scale", "modality_scale", "rescale_scale")
    scales = (given[name] for name in names)
    return ModalityGuidance(*scales, stg_blocks=tuple(given["stg_blocks"]))


def sampling_of(case: dict[str, Any], **options: Any) -> Sampling:
    return Sampling(
        num_inference_steps=case["steps"],
        schedule=case["schedule"],
        frozen_audio_sigma=case["frozen_sigma"],
        **options,
    )


def conditioning_of(case: dict[str, Any]) -> LTX2Conditioning:
    data, name = read_tensors("retake_cases.safetensors"), case["name"]
    return LTX2Conditioning(
        video_latent=pack_video(data[f"{name}/video_clean"]),
        video_mask=data[f"{name}/video_mask"],
        alpha_0=data[f"{name}/alpha"],
        audio_mask=data[f"{name}/audio_mask"],
        v_p=data[f"{name}/video_context_pos"],
        a_p=data[f"{name}/audio_context_pos"],
        v_n=data[f"{name}/video_context_neg"],
        a_n=data[f"{name}/audio_context_neg"],
        noise_video=data[f"{name}/noise_video"],
        noise_audio=data[f"{name}/noise_audio"],
        latent_shape=tuple(case["latent_shape"]),
        fps=case["fps"],
        num_frames=case["num_pixel_frames"],
    )


def start_of(conditioning: LTX2Conditioning) -> Controls:
    return Controls(conditioning.alpha_0, torch.zeros_like(conditioning.v_p))
