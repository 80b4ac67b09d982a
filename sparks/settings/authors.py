"""Experiments in the layout of the paper's code: one flat YAML file each, in a folder of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sparks.errors import SparksError

MARK = "edit_prompt"  # every file of theirs has it, and none of ours

# Their key: ours, and how a value is put.
_KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "edit_prompt": ("prompt", str),
    "static_prompt": ("static_prompt", str),
    "audio_prompt": ("audio_prompt", str),
    "negative_prompt": ("negative_prompt", str),
    "seed": ("seed", int),
    "num_frames": ("clip.num_frames", int),
    "frame_rate": ("clip.fps", float),
    "retake_start_frames": ("prefix_frames", int),
    "num_inference_steps": ("sampling.num_inference_steps", int),
    "audio_opt_last_steps": ("sampling.grad_steps", int),
    "gradient_checkpointing": ("sampling.checkpointing", bool),
    "qwen_max_frames": ("critic.num_frames", int),
    "qwen_img_size": ("critic.size", lambda side: [side, side]),
    "qwen_sample_mode": ("critic.sampling", str),
    "qwen_contiguous_start_frame": ("critic.start", int),
    "qwen_grad_accum_steps": ("critic.windows", int),
    "lpips_weight": ("objective.weights.lpips", float),
    "temporal_weight": ("objective.weights.temporal", float),
    "latent_reg_weight": ("objective.weights.latent_alpha", float),
    "text_reg_weight": ("objective.weights.latent_v", float),
    "reg_schedule": ("objective.latent_schedule", str),
    "opt_mode": ("space.mode", str),
    "audio_init": ("space.audio_init", str),
    "audio_init_seed": ("space.audio_init_seed", int),
    "iterations": ("budget", lambda count: f"renders={count}"),
    "early_stopping": ("solver.patience", lambda count: count or None),
    "lr": ("solver.lr", float),
    "lr_schedule": ("solver.lr_schedule", str),
    "grad_clip": ("solver.clip_norm", lambda norm: norm or None),
}


def translate(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings for one of their files; what has no counterpart here is left out.

    Raises:
        SparksError: a value that cannot be put into ours.
    """
    ours: dict[str, Any] = {}
    for key, (place, put) in _KEYS.items():
        if theirs.get(key) is not None:
            _set(ours, place, _put(key, theirs[key], put))
    if {"height", "width"} <= theirs.keys():
        _set(ours, "clip.size", [theirs["height"], theirs["width"]])
    if theirs.get("audio_reg_anchor") in ("source", "init"):
        _set(ours, "objective.anchor", theirs["audio_reg_anchor"])
    elif theirs.get("audio_reg_anchor") == "none":
        _set(ours, "objective.weights.latent_alpha", 0.0)
    for plugin, name in (("solver", "adam"), ("space", "full"), ("critic", "qwen")):
        if plugin in ours:
            ours[plugin] = {"name": name} | ours[plugin]
    return ours


def _put(key: str, value: Any, put: Callable[[Any], Any]) -> Any:
    try:
        return put(value)
    except (TypeError, ValueError) as error:
        raise SparksError(f"{key}={value!r} cannot be used: {error}") from error


def _set(settings: dict[str, Any], place: str, value: Any) -> None:
    *path, last = place.split(".")
    for part in path:
        settings = settings.setdefault(part, {})
    settings[last] = value
