"""From settings to a problem that can be searched: everything loaded, encoded and checked."""

import functools
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks import registry
from sparks.critics.base import Critic
from sparks.editors.conditioning import Conditioning
from sparks.errors import SparksError
from sparks.media.clip import Clip, fit_clip, read_clip
from sparks.media.ffmpeg import check_video
from sparks.models.fingerprint import fingerprints
from sparks.models.machine import check_device, read_dtype
from sparks.models.memory import enough_memory
from sparks.models.quiet import quiet_libraries
from sparks.models.weights import fetch, find
from sparks.runs.cache import Kept, stamp
from sparks.runs.judging import build_critic, build_judge, build_objective
from sparks.runs.memory_plan import Plan, plan_edit
from sparks.runs.progress import Silent
from sparks.runs.trackers import check_trackers
from sparks.search.budget import Budget
from sparks.search.driver import Solver
from sparks.search.problem import EditProblem
from sparks.settings.construct import construct
from sparks.settings.layers import merge, recommended, without_code
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings

FALLBACK: Settings = {"prefix_frames": 5}  # the paper's K
# Settings that an encoded clip, and its prompt-only render at full guidance, depend on.
_ENCODED_BY = {
    *("prompt", "static_prompt", "negative_prompt", "audio_prompt", "prefix_frames", "window"),
    *("clip", "sampling", "guidance", "seed"),
}


@dataclass(frozen=True)
class Prepared:
    """Everything an edit needs, loaded and checked."""

    config: Config
    source: Clip
    problem: EditProblem
    solver: Solver
    judge: Critic | None  # is never searched with
    facts: Settings  # what is edited, for the record
    baseline: Callable[[], Tensor]  # the prompt-only render at full guidance


def prepare(settings: Settings, report: Silent | None = None, kept: Kept | None = None) -> Prepared:
    """Load models and clip, encode, and build the problem; arguments as of `sparks.edit`.

    Raises:
        SparksError: something about the input is wrong.
    """
    with quiet_libraries(), enough_memory("loading and encoding"):
        return _prepare(settings, report or Silent(), kept or Kept())


def _prepare(settings: Settings, report: Silent, kept: Kept) -> Prepared:
    asked = check_settings(settings)
    torch.manual_seed(asked.seed)
    report.stage("loading the editor")
    origin = _editor_recipe(asked)
    _fetch_critics(asked)
    plan = kept.get("plan", origin, lambda: _plan(asked, report))
    editor = kept.get("editor", origin, lambda: _build_editor(asked, plan))
    folder = _model_folder(editor)
    with tempfile.TemporaryDirectory() as scratch:
        video, task = _source(asked, Path(scratch))
        advice = without_code(recommended(folder), folder, settings) if folder else {}
        preferred = _preferred(merge(advice, settings))
        config = Config.resolve(merge(FALLBACK, task, advice, preferred, settings))
        report.stage("reading the clip")
        clip = _read(video, config, editor)
        with video.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    report.stage("encoding clip and prompts")
    encoded = (origin, digest, config.model_dump(include=_ENCODED_BY))
    conditioning = kept.get("conditioning", encoded, lambda: _condition(editor, clip, config))
    report.stage("loading the critic")
    critic = build_critic("critic", config.critic, config, conditioning, folder, kept)
    judge = build_judge(config, conditioning, folder, kept)
    torch.manual_seed(asked.seed)  # whatever was loaded or kept, what follows draws the same
    problem = _build_problem(editor, conditioning, critic, config, folder, kept)
    facts = _facts(config, clip, conditioning, {"name": video.name, "sha256": digest})
    facts |= {"fingerprint": fingerprints(folder)} if folder else {}
    facts |= {"memory": plan.record()} if plan is not None and plan.large else {}

    def baseline() -> Tensor:
        untuned = editor.start(conditioning)
        render = functools.partial(problem.render, untuned, config.guidance.final)
        return kept.get("baseline", encoded, render)

    return Prepared(config, clip, problem, _build_solver(config), judge, facts, baseline)


def _build_problem(
    editor: Any,
    conditioning: Conditioning,
    critic: Critic,
    config: Config,
    folder: Path | None,
    kept: Kept,
) -> EditProblem:
    start = editor.start(conditioning)
    space = construct(
        "space",
        registry.spaces.get(config.space.name),
        config.space.options,
        start=start,
        silence=conditioning.silence,
    )
    return EditProblem(
        editor,
        conditioning,
        critic,
        space,
        build_objective(config, start, space, folder, kept),
        budget=Budget.parse(config.budget),
        sampling=config.sampling,
        guidance=config.guidance.tuning,
        watch=config.critic.watch,
        seed=config.seed,
    )


def check_settings(settings: Settings) -> Config:
    """Find mistakes that need no model before one is loaded.

    Raises:
        SparksError: the first one found.
    """
    config = Config.resolve(settings)
    Budget.parse(config.budget)
    check_trackers(config.listeners)
    for table, plugin in (
        (registry.editors, config.editor),
        (registry.critics, config.critic),
        (registry.critics, config.judge or config.critic),
        (registry.spaces, config.space),
        (registry.solvers, config.solver),
    ):
        table.get(plugin.name)
    if "name" in settings.get("solver", {}):  # else the model may know a better one, with others
        _build_solver(config)
    check_device(config.device)
    read_dtype(config.dtype)
    read_dtype(config.critic.dtype)
    read_dtype((config.judge or config.critic).dtype)
    if config.video is not None:
        check_video(config.video)
        if not config.prompt:
            raise SparksError(f"no prompt for {config.video}; say what to show with --prompt")
    if config.prefix_frames is not None and config.window is not None:
        raise SparksError("give prefix_frames or window, not both: each says what is regenerated")
    return config


def _build_solver(config: Config) -> Solver:
    factory = registry.solvers.get(config.solver.name)
    solver: Solver = construct("solver", factory, config.solver.options)
    return solver


def _preferred(settings: Settings) -> Settings:
    """The space that the chosen solver searches, its `default_space`, unless one is named."""
    solver = _build_solver(Config.resolve(settings))
    space = getattr(solver, "default_space", None)
    return {} if space is None else {"space": space}


def _fetch_critics(config: Config) -> None:
    """Have the critics' weights on this machine before anything is loaded."""
    for asked in (config.critic, config.judge):
        if asked is not None and asked.name == "qwen" and asked.model is not None:
            fetch(asked.model)


def _plan(config: Config, report: Silent) -> Plan | None:
    """See that everything fits before it is loaded."""
    default = "cuda" if torch.cuda.is_available() else "cpu"
    plan = plan_edit(config, torch.device(config.device or default))
    for line in plan.lines() if plan is not None and plan.large else ():
        report.stage(line)
    return plan


def _build_editor(config: Config, plan: Plan | None) -> Any:
    return construct(
        "editor",
        registry.editors.get(config.editor.name),
        config.editor.options,
        model=config.model,
        device=config.device,
        dtype=read_dtype(config.dtype),
        **_planned(config, plan),
    )


def _planned(config: Config, plan: Plan | None) -> Settings:
    given = {} if plan is None else {"storage": plan.storage, "text_device": plan.text_device}
    return {name: value for name, value in given.items() if name not in config.editor.options}


def _editor_recipe(config: Config) -> list[Any]:
    """Whatever decides which editor is loaded."""
    folder = find(config.model)
    factory = registry.editors.get(config.editor.name)
    return [factory, config.editor, config.model, config.device, config.dtype, stamp(folder)]


def _source(config: Config, scratch: Path) -> tuple[Path, Settings]:
    """The video to edit and, for the bundled task, the settings that belong to it."""
    if config.video is not None:
        return Path(config.video), {}
    from sparks.pocket.tasks import default_task

    task = default_task()
    settings = {
        "prompt": task.prompt,
        "static_prompt": task.static_prompt,
        "prefix_frames": task.prefix_frames,
    }
    path = scratch / f"{task.name}.mp4"
    task.source.write(path, task.static_prompt)
    return path, settings


def _read(video: Path, config: Config, editor: Any) -> Clip:
    shape = config.clip
    fps = None if shape.fps is None else Fraction(shape.fps).limit_denominator(1001)  # of 23.976
    return fit_clip(
        read_clip(video, fps=fps, size=shape.size, max_frames=shape.num_frames),
        multiple=editor.spatial_multiple,
        temporal=editor.temporal_compression,
        size=shape.size,
        num_frames=shape.num_frames,
    )


def _condition(editor: Any, clip: Clip, config: Config) -> Conditioning:
    """Encode once; a silent clip gets the sound the editor imagines for it."""
    prompt = config.prompt or ""
    conditioning: Conditioning = editor.prepare(
        clip,
        prompt,
        negative_prompt=config.negative_prompt,
        prefix_frames=config.prefix_frames,
        window=config.window,
        seed=config.seed,
    )
    if clip.waveform is None:
        alpha = editor.synthesise_audio(
            clip,
            config.audio_prompt or config.static_prompt or prompt,
            sampling=config.sampling,
            guidance=config.guidance.final,
            negative_prompt=config.negative_prompt,
            seed=config.seed,
        )
        conditioning = conditioning.with_audio(alpha)
    editor.free_text_encoder()
    return conditioning


def _facts(
    config: Config, clip: Clip, conditioning: Conditioning, source: dict[str, str]
) -> Settings:
    frames, _, height, width = clip.frames.shape
    return {
        "prompt": config.prompt,
        "source": source,
        "clip": {"frames": frames, "size": [height, width], "fps": str(clip.fps)},
        "kept": {
            "prefix_frames": config.prefix_frames,
            "window": config.window,
            "latent_frames": conditioning.prefix_latents,
            "frames": conditioning.prefix_frames_kept,
        },
        "seeds": {"noise": config.seed, "search": config.seed, "windows": config.seed},
    }


def _model_folder(editor: Any) -> Path | None:
    folder = getattr(editor, "folder", None)
    return None if folder is None else Path(folder.path)
