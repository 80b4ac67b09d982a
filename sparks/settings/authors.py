"""Experiments in the layout of the paper's code: one flat YAML file each, in a folder of them.

A key that they leave out has a value for them all the same, here too. What has no counterpart is
named in a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sparks.errors import SparksError

log = logging.getLogger("sparks")

MARK = "edit_prompt"  # every file of theirs has it, and none of ours


class _Key(NamedTuple):
    """Where a value of theirs goes, how it is put, and what it is to them when left out."""

    place: str
    put: Callable[[Any], Any]
    default: Any = None


_KEYS: dict[str, _Key] = {
    "edit_prompt": _Key("prompt", str),
    "static_prompt": _Key("static_prompt", str),
    "audio_prompt": _Key("audio_prompt", str),
    "negative_prompt": _Key("negative_prompt", str),
    "seed": _Key("seed", int, 42),
    "num_frames": _Key("clip.num_frames", int, 95),
    "retake_start_frames": _Key("prefix_frames", int, 5),
    "audio_opt_last_steps": _Key("sampling.grad_steps", int, 8),
    "gradient_checkpointing": _Key("sampling.checkpointing", bool, True),
    "qwen_max_frames": _Key("critic.num_frames", int, 8),
    "qwen_img_size": _Key("critic.size", lambda side: [side, side], 224),
    "qwen_sample_mode": _Key("critic.sampling", str, "linspace"),
    "qwen_contiguous_start_frame": _Key("critic.start", int, 4),
    "qwen_grad_accum_steps": _Key("critic.windows", int, 3),
    "qwen_motion_question": _Key(
        "critic.question", lambda text: str(text).replace("{edit_prompt}", "{prompt}")
    ),
    "lpips_weight": _Key("objective.weights.lpips", float, 0.0),
    "temporal_weight": _Key("objective.weights.temporal", float, 0.0),
    "latent_reg_weight": _Key("objective.weights.latent_alpha", float, 0.01),
    "text_reg_weight": _Key("objective.weights.latent_v", float, 0.001),
    "reg_schedule": _Key(
        "objective.latent_schedule",
        lambda name: {"linear_warmup": "linear"}.get(name, name),
        "cosine_increase",
    ),
    "opt_mode": _Key("space.mode", str, "both"),
    "audio_init": _Key("space.audio_init", str),
    "audio_init_seed": _Key("space.audio_init_seed", int),
    "iterations": _Key("budget", lambda count: f"renders={count}", 30),
    "early_stopping": _Key("solver.patience", lambda count: count or None, 15),
    "best_min_loss_delta": _Key("solver.min_delta", float, 0.0),
    "lr": _Key("solver.lr", float, 0.005),
    "lr_schedule": _Key("solver.lr_schedule", str, "cosine"),
    "grad_clip": _Key("solver.clip_norm", lambda norm: norm or None, 0.0),
}
# Strengths for renders while tuning and for the final one.
_GUIDANCE = {
    "cfg_scale": "video.guidance_scale",
    "audio_cfg_scale": "audio.guidance_scale",
    "a2v_scale": "video.modality_scale",
}
_ANCHORS = {
    "audio_reg_anchor": ("objective.weights.latent_alpha", ("source", "init", "none")),
    "text_reg_anchor": ("objective.weights.latent_v", ("base", "init", "none")),
}
# Values that ask for what is done here anyway.
_SAME: dict[str, Any] = {
    "enhance_prompt": False,
    "frame_stride": 1,
    "lpips_backbone": "alex",
    "qwen_gradient_rubric": "motion",
    "resume": False,
}
_ELSEWHERE = {
    *("src_video", "height", "width", "frame_rate", "num_inference_steps"),
    *("retake_num_inference_steps", "low_memory_guidance"),
    "text_param",  # the context itself, searched from the prompt's, or a residual from 0: the same
}
# What their program keeps or shows beside an edit.
_BESIDE = {
    *("experiment_name", "output_dir", "ckpt_root", "qwen_root", "gemma_root"),
    *("clip_similarity_diag", "clip_model", "clip_max_frames", "clip_batch_size"),
    *("visualize_every_iters", "save_final_videos"),
    *("wandb_project", "wandb_tags", "wandb_mode", "wandb_entity"),
}


def read(theirs: Mapping[str, Any], source: object) -> dict[str, Any]:
    """`translate`, with a warning of what is in the file `source` and has no counterpart.

    Raises:
        SparksError: a value that cannot be put into ours.
    """
    ours = translate(theirs)
    if left := _left_out(_given(theirs)):
        log.warning("%s: not taken over, as nothing here is like it: %s", source, ", ".join(left))
    return ours


def translate(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings for one of their files, complete but for what has no counterpart here.

    Raises:
        SparksError: a value that cannot be put into ours.
    """
    given = _given(theirs)
    ours: dict[str, Any] = {}
    for key, (place, put, default) in _KEYS.items():
        if (value := given.get(key, default)) is not None:
            _set(ours, place, _put(key, value, put))
    _set(ours, "clip.size", [given.get("height", 320), given.get("width", 512)])
    _set(ours, "clip.fit", "squash")
    _set(ours, "clip.fps", given.get("frame_rate"))  # the source's own unless they name one
    _set(ours, "sampling.num_inference_steps", _steps(given))
    _anchor(ours, given)
    _guide(ours, given)
    for plugin, name in (("solver", "adam"), ("space", "full"), ("critic", "qwen")):
        ours[plugin] = {"name": name} | ours[plugin]
    return ours


def _given(theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in theirs.items() if value not in (None, "")}


def _steps(given: Mapping[str, Any]) -> Any:
    """Of Retake; their other number of steps is of a pipeline that no edit runs."""
    return given.get("retake_num_inference_steps", given.get("num_inference_steps", 30))


def _anchor(ours: dict[str, Any], given: Mapping[str, Any]) -> None:
    for key, (weight, known) in _ANCHORS.items():
        anchor = given.get(key, known[0])
        if anchor not in known:
            raise SparksError(f"{key}={anchor!r} cannot be used: choose {', '.join(known)}")
        if anchor == "none":
            _set(ours, weight, 0.0)
    origin = "init" if given.get("audio_reg_anchor") == "init" else "source"
    _set(ours, "objective.anchor", origin)


def _guide(ours: dict[str, Any], given: Mapping[str, Any]) -> None:
    from sparks.settings.yaml import read_settings

    guided = not given.get("low_memory_guidance", True)
    strengths = {key: _put(key, given[key], float) for key in _GUIDANCE if key in given}
    if not (guided or strengths):
        return
    tuning, final = (read_settings("reference")["guidance"]["final"] for _ in range(2))
    ours["guidance"] = {"tuning": tuning if guided else {}, "final": final}
    for key, strength in strengths.items():
        for which in ("tuning", "final"):
            _set(ours, f"guidance.{which}.{_GUIDANCE[key]}", strength)


def _left_out(given: Mapping[str, Any]) -> list[str]:
    """Keys that nothing was made of, with their values where those change an edit."""
    same = _SAME | {"final_retake_num_inference_steps": _steps(given)}
    if _whole(given):
        same["max_eval_frames"] = given.get("max_eval_frames")
    taken = {*_KEYS, *_GUIDANCE, *_ANCHORS, *_ELSEWHERE}
    left = [key for key in given if key not in taken and given[key] != same.get(key)]
    return [key if key in _BESIDE else f"{key}={str(given[key])[:40]}" for key in left]


def _whole(given: Mapping[str, Any]) -> bool:
    """Whether all frames are judged."""
    judged, frames = given.get("max_eval_frames"), given.get("num_frames", 95)
    return isinstance(judged, int) and isinstance(frames, int) and judged >= frames


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
