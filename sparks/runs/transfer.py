"""Saved controls on another clip: what `sparks transfer` does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from sparks.editors.controls import Controls, load_controls
from sparks.errors import SparksError
from sparks.files import write_text
from sparks.media.clip import write_clip
from sparks.runs.cache import Cache
from sparks.runs.edit import with_sound
from sparks.runs.folder import SOURCE, Run
from sparks.runs.gap import AROUND, clip_scorer, critic_scorer, draw_curves, frame_curves
from sparks.runs.prepare import Prepared, prepare
from sparks.runs.progress import Silent
from sparks.runs.recipes import read_recipe
from sparks.runs.sharing.hub import check_here, controls_file
from sparks.settings.layers import merge, without_code
from sparks.settings.yaml import Settings

# What a render depends on besides clip, prompts and controls, and the critic that judges it.
_INHERITED = (
    *("model", "editor", "device", "dtype", "clip", "sampling", "guidance", "negative_prompt"),
    *("prefix_frames", "window", "seed", "sound", "critic", "judge"),
)
# The space only has to be one that every editor allows.
_UNSEARCHED: Settings = {
    "objective": {"weights": {"lpips": 0, "temporal": 0}},
    "space": {"mode": "text"},
}


def transfer(
    run: Path,
    settings: Settings,
    output: Path | None = None,
    reporter: Silent | None = None,
    cache: Cache | None = None,
) -> Settings:
    """Render a clip with the controls that were tuned for another.

    `alpha` takes the place of the clip's own audio latent, interpolated in time to its length;
    `delta_v` is added to the context of the new prompt. Nothing is searched.

    Args:
        run: a run directory, its `best.safetensors`, a folder that was made to be shared, or
            `owner/name` of such a one on the hub.
        settings: the user's: `video`, `prompt` and whatever else shall differ from the run's.
        output: where videos, `gap.png`, `gap.json` and `result.json` are written; new under `runs`
            by default.
        reporter: where progress is shown.
        cache: what an earlier edit or transfer loaded.

    Returns:
        `run_dir`, `controls`, P(yes) of critic and judge for the prompt-only render and the
        transfer, of both the mean similarity to the edit prompt and to the static one, the mean
        `gap` between these and what they were `measured_by`, and by how much `alpha` was
        `stretched`.

    Raises:
        SparksError: there are no controls, or they were made for another model or text encoder.
    """
    path, foreign = controls_file(run)
    made, controls = read_recipe(path), load_controls(path)
    if foreign:
        check_here(made, settings, run.as_posix())
    wanted = merge(without_code(_inherited(made), path, settings), _UNSEARCHED, settings)
    reporter = reporter or Silent()
    place = Run(output, f"transfer {wanted.get('prompt') or ''}")
    with reporter:
        prepared = prepare(wanted, reporter, cache)
        check_same(made, prepared.facts.get("fingerprint"), prepared.config.model, path)
        problem, config = prepared.problem, prepared.config
        fitted = fit_controls(controls, problem.editor.start(problem.conditioning))
        reporter.stage("rendering with and without the controls")
        frames = {
            "baseline": prepared.baseline(),
            "transfer": problem.render(fitted, config.guidance.final),
        }
        place.claim()
        reporter.stage("comparing frame by frame")
        result = {
            "run_dir": str(place.folder),
            "controls": str(path),
            **_scores(prepared, frames),
            **_gaps(place.folder, prepared, frames),
            "stretched": _stretch(controls, fitted),
        }
        reporter.stage("writing the videos")
        _write(place, prepared, fitted, frames, made, result)
    return result


def _inherited(made: Settings) -> Settings:
    config, seeds = made["config"], made.get("seeds") or {}
    noise = {"seed": seeds["noise"]} if "noise" in seeds else {}
    return {k: config[k] for k in _INHERITED if config.get(k) is not None} | noise


def fit_controls(controls: Controls, start: Controls) -> Controls:
    """Controls `[1, ...]` for another clip: `alpha` linearly interpolated along its audio frames.

    Args:
        controls: of the first clip.
        start: untuned ones of the other.

    Raises:
        SparksError: their shapes are not those of this model.
    """
    alpha, like = controls.alpha, start.alpha
    text, context = controls.delta_v, start.delta_v
    if alpha.shape[1] != like.shape[1] or alpha.shape[3] != like.shape[3]:
        _refuse("alpha", alpha, like)
    if text.shape[1:] != context.shape[1:]:
        _refuse("delta_v", text, context)
    if alpha.shape[2] != like.shape[2]:
        size = (like.shape[2], like.shape[3])
        alpha = F.interpolate(alpha.float(), size, mode="bilinear", align_corners=False)
    return Controls(alpha.float(), text.float()).to(like.device)


def _stretch(controls: Controls, fitted: Controls) -> float:
    """How much longer alpha has become; 1 where there is none."""
    return fitted.alpha.shape[2] / controls.alpha.shape[2] if controls.has_audio else 1.0


def _refuse(name: str, given: Tensor, like: Tensor) -> None:
    raise SparksError(
        f"{name} of the controls has shape {list(given.shape)}, this model needs "
        f"{list(like.shape)}; use the model they were made with"
    )


def check_same(made: Settings, now: Settings | None, model: str, path: Path) -> None:
    """Latents of one model, or text of one encoder, mean nothing to another.

    Args:
        made: the recipe of the controls.
        now: fingerprints of the model that shall use them, None for one that is in no folder.
        model: its name.
        path: of the controls.

    Raises:
        SparksError: they were made for another.
    """
    then = made.get("fingerprint")
    if then is None or now is None:
        then, now = {"model": made.get("model")}, {"model": model}
    for part, print_ in now.items():
        if then.get(part) != print_:
            raise SparksError(
                f"{path} was made with another {part.replace('_', ' ')} ({made.get('model')}: "
                f"{then.get(part)}) than {model}: {print_}; give the same --model"
            )


def _scores(prepared: Prepared, frames: dict[str, Tensor]) -> Settings:
    scores: Settings = {}
    for name, each in frames.items():
        scores[f"p_yes_{name}"] = prepared.problem.ask(each)
        scores[f"p_yes_judge_{name}"] = prepared.judge and prepared.judge(each)
    return scores


def _gaps(folder: Path, prepared: Prepared, frames: dict[str, Tensor]) -> Settings:
    """Draw both curves and their gap, write them down, and give their means."""
    problem, source_prompt = prepared.problem, prepared.config.static_prompt
    prompts = [problem.prompt, *([source_prompt] if source_prompt else [])]
    model = problem.editor.folder
    if model is not None and (model / "clip").is_dir() and source_prompt:
        score, around = clip_scorer(model / "clip", prompts, problem.device), 1
        measured_by = "CLIP, logits"
    else:
        score, around = critic_scorer(problem.critic, prompts), AROUND
        measured_by = f"critic on {AROUND} frames, log odds"
    curves = {name: frame_curves(score, each, around) for name, each in frames.items()}
    draw_curves(folder / "gap.png", curves, problem.conditioning.fps, measured_by)
    content = {"prompts": prompts, "fps": problem.conditioning.fps, "measured_by": measured_by}
    rows = {name: {**vars(one), "gap": one.gap} for name, one in curves.items()}
    write_text(folder / "gap.json", json.dumps({**content, **rows}, indent=1) + "\n")
    means = {f"{m}_{n}": v for n, one in curves.items() for m, v in one.means().items()}
    return {**means, "measured_by": measured_by}


def _write(
    place: Run,
    prepared: Prepared,
    controls: Controls,
    frames: dict[str, Tensor],
    made: Settings,
    result: Settings,
) -> None:
    silent = prepared.config.sound == "none"
    source = replace(prepared.source, waveform=None) if silent else prepared.source
    note: dict[str, Any] = {**prepared.facts, "transferred_from": made, "scores": result}
    write_text(place.folder / "config.yaml", prepared.config.dump())
    write_clip(place.folder / SOURCE, prepared.source)
    place.save_videos(
        source,
        replace(source, frames=frames["baseline"].cpu()),
        with_sound(replace(source, frames=frames["transfer"].cpu()), prepared, controls),
        json.dumps(note),
    )
    write_text(place.folder / "result.json", json.dumps(result, indent=2) + "\n")
