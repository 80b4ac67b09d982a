"""One edit from settings to a run directory: what `sparks solve` does."""

import contextlib
import functools
import hashlib
import inspect
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks import registry
from sparks.budget import Budget
from sparks.config import (
    Config,
    CriticSettings,
    Settings,
    construct,
    merge,
    read_settings,
    recommended,
    without_code,
)
from sparks.controls import Controls
from sparks.critics.base import Critic
from sparks.decoding import check_video
from sparks.editors.conditioning import Conditioning
from sparks.errors import SparksError
from sparks.fingerprint import fingerprints
from sparks.kept import Kept, stamp
from sparks.media import Clip, fit_clip, read_clip
from sparks.memory import enough_memory
from sparks.objective import Objective
from sparks.plan import Plan, plan_edit
from sparks.previews import Previews
from sparks.problem import EditProblem, peak_memory
from sparks.progress import Silent
from sparks.quiet import quiet_libraries
from sparks.recipes import recipe
from sparks.runs import Run
from sparks.solve import Listener, Outcome, Solver, solve
from sparks.spaces import Space
from sparks.trackers import check_trackers, trackers
from sparks.weights import fetch, is_full_size

log = logging.getLogger("sparks")

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


def edit(
    settings: Settings,
    output: Path | None = None,
    report: Silent | None = None,
    *,
    kept: Kept | None = None,
    pictures: bool = True,
) -> Settings:
    """Edit a clip and write a run directory.

    Args:
        settings: the user's; see `sparks.config.Config`.
        output: the run directory; a new one under `runs` by default.
        report: where progress is shown.
        kept: what an earlier edit loaded, taken over where it is the same.
        pictures: also write `side_by_side.mp4`, `contact_sheet.png` and `curve.png`.

    Returns:
        `run_dir`, `solver`, `space`, `seed`, `p_yes_baseline`, `p_yes_best`, `p_yes_edited`,
        `p_yes_judge_baseline` and `p_yes_judge_edited` (None without a judge), `losses` of the
        best by term, `spent`, `skipped` (evaluations that were no number), `stopped_by`, and
        `solver_report` where the solver has something to say of its own.

    Raises:
        SparksError: something about the input is wrong; nothing has been written.
    """
    report = report or Silent()
    asked = check_settings(settings)
    run = Run(output, asked.prompt or "bundled task")
    with report:
        prepared = prepare(settings, report, kept)
        with _open(run):
            run.begin(prepared.config.dump(), prepared.facts, str(prepared.problem.device))
            return _search(run, prepared, report, pictures)


def go_on(folder: Path, report: Silent | None = None) -> Settings:
    """Go on with a run from its last evaluation; a finished one is left alone.

    Args:
        folder: of a run that `edit` began.
        report: where progress is shown.

    Returns:
        The result, as of `edit`.

    Raises:
        SparksError: there is no run, another process is at it, or what it edits has changed.
    """
    report = report or Silent()
    run = Run(folder.absolute(), begun=True)
    with contextlib.closing(run):
        if run.result is not None:
            log.warning("run %s is finished; there is nothing left to do", folder)
            return run.result
        settings = read_settings(run.folder / "config.yaml")
        with contextlib.chdir(run.home), report:
            prepared = prepare(settings, report)
            run.check(prepared.facts, str(prepared.problem.device))
            with _open(run):
                return _search(run, prepared, report)


@contextlib.contextmanager
def _open(run: Run) -> Iterator[None]:
    """Close the run in the end, and say how to go on with it if that was not its own."""
    before = run.recorded
    try:
        with contextlib.closing(run):
            yield
    except BaseException as error:
        refused = isinstance(error, SparksError) and run.recorded == before
        if run.recorded and not refused:  # what was refused at once would be so again
            log.warning(
                "%d evaluations are kept; go on with: sparks solve --resume %s",
                *(run.recorded, run.folder),
            )
        raise


def _search(run: Run, prepared: Prepared, report: Silent, pictures: bool = True) -> Settings:
    problem = prepared.problem
    if problem.objective.needs_reference:
        report.stage("rendering the baseline")
        _ = problem.baseline
    report.search(problem)
    with contextlib.ExitStack() as closing:
        outcome = solve(
            problem,
            prepared.solver,
            seed=prepared.config.seed,
            listeners=(report.evaluated, *_followers(run.folder, prepared, closing)),
            journal=run.journal,
        )
    return _conclude(run, prepared, outcome, report, pictures)


def _followers(folder: Path, prepared: Prepared, closing: contextlib.ExitStack) -> list[Listener]:
    config = prepared.config
    found: list[Listener] = []
    if config.preview_every is not None:
        found.append(Previews(folder, config.preview_every, prepared.problem, prepared.source))
    for tracker in trackers(config.listeners, folder, config):
        closing.callback(tracker.close)
        found.append(tracker)
    return found


def prepare(settings: Settings, report: Silent | None = None, kept: Kept | None = None) -> Prepared:
    """Load models and clip, encode, and build the problem; arguments as of `edit`.

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
    critic = _critic("critic", config.critic, config, conditioning, folder, kept)
    judge = None
    if (judging := _judge_settings(config, folder)) is not None:
        judge = _critic("judge", judging, config, conditioning, folder, kept)
    torch.manual_seed(asked.seed)  # whatever was loaded or kept, what follows draws the same
    start = editor.start(conditioning)
    space = construct(
        "space", registry.spaces.get(config.space.name), config.space.options, start=start
    )
    problem = EditProblem(
        editor,
        conditioning,
        critic,
        space,
        _build_objective(config, _anchor(config, start, space), folder, kept),
        budget=Budget.parse(config.budget),
        sampling=config.sampling,
        guidance=config.guidance.tuning,
        watch=config.critic.watch,
        seed=config.seed,
    )
    facts = _facts(config, clip, conditioning, {"name": video.name, "sha256": digest})
    facts |= {"fingerprint": fingerprints(folder)} if folder else {}
    facts |= {"memory": plan.record()} if plan is not None and plan.large else {}

    def baseline() -> Tensor:
        untuned = editor.start(conditioning)
        render = functools.partial(problem.render, untuned, config.guidance.final)
        return kept.get("baseline", encoded, render)

    return Prepared(config, clip, problem, _build_solver(config), judge, facts, baseline)


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
    _build_solver(config)
    _check_device(config.device)
    _dtype(config.dtype)
    _dtype(config.critic.dtype)
    _dtype((config.judge or config.critic).dtype)
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
        dtype=_dtype(config.dtype),
        **_planned(config, plan),
    )


def _planned(config: Config, plan: Plan | None) -> Settings:
    given = {} if plan is None else {"storage": plan.storage, "text_device": plan.text_device}
    return {name: value for name, value in given.items() if name not in config.editor.options}


def _editor_recipe(config: Config) -> list[Any]:
    """Whatever decides which editor is loaded."""
    from sparks.pocket import weights_path

    folder = weights_path() if config.model == "pocket" else config.model
    factory = registry.editors.get(config.editor.name)
    return [factory, config.editor, config.model, config.device, config.dtype, stamp(folder)]


def _critic(
    part: str,
    asked: CriticSettings,
    config: Config,
    conditioning: Conditioning,
    folder: Path | None,
    kept: Kept,
) -> Any:
    """The `critic` or `judge` asked for, on the model's own weights unless others are given."""
    factory = registry.critics.get(asked.name)
    model, own = asked.model, getattr(factory, "bundled", part)
    if model is None and folder is not None and (folder / own).is_dir():
        model = str(folder / own)
    device = conditioning.v_p.device
    given: Settings = {
        "device": device,
        "dtype": _dtype(asked.dtype)
        or (torch.bfloat16 if device.type == "cuda" else torch.float32),
        "fps": conditioning.fps,
        "num_frames": asked.num_frames,
        "sampling": asked.sampling,
    }
    if model is not None:
        given["model"] = model
    elif asked.name == "qwen" or hasattr(factory, "bundled"):
        raise SparksError(
            f"model {config.model!r} brings no weights in {own}/ for {part} {asked.name!r}; "
            f"give {part}.model, a folder or hub id"
        )

    def build(settings: Settings) -> Critic:
        shown = {"num_frames": asked.num_frames, "sampling": asked.sampling}
        inner = Config.resolve({"critic": shown | settings}).critic
        critic: Critic = _critic(part, inner, config, conditioning, folder, Kept())
        return critic

    more = {"static_prompt": config.static_prompt, "build": build}
    heeds = config.static_prompt if more.keys() & inspect.signature(factory).parameters else None
    recipe = [factory, given, asked.options, stamp(model), stamp(folder), heeds]
    return kept.get(part, recipe, lambda: construct(part, factory, asked.options, **given, **more))


def _judge_settings(config: Config, folder: Path | None) -> CriticSettings | None:
    """The held-out critic, by default the model's own; it is shown what the critic is shown."""
    if config.judge is None and not (folder is not None and (folder / "judge").is_dir()):
        return None
    given = {} if config.judge is None else config.judge.model_dump(exclude_unset=True)
    shown: Settings = {"num_frames": config.critic.num_frames, "sampling": config.critic.sampling}
    return CriticSettings(**(shown | given))


def _anchor(config: Config, start: Controls, space: Space) -> Controls:
    """Where the latent terms are measured from."""
    if config.objective.anchor == "source":
        return start
    return space.decode(torch.zeros(1, space.dim, device=start.alpha.device))


def _build_objective(
    config: Config, anchor: Controls, folder: Path | None, kept: Kept
) -> Objective:
    options = config.objective
    distance = None
    if options.weights.lpips or options.weights.temporal:
        recipe = [folder, stamp(folder and folder / "perceptual")]
        distance = kept.get("distance", recipe, lambda: _distance(folder, config.model))
    if distance is None:
        weights = replace(options.weights, lpips=0, temporal=0)
    else:
        weights, distance = options.weights, distance.to(anchor.alpha.device)
    return Objective(
        weights,
        anchor,
        distance=distance,
        reduction=options.reduction,
        latent_schedule=options.latent_schedule,
        max_frames=options.max_frames,
        max_pairs=options.max_pairs,
        size=options.size,
    )


def _distance(folder: Path | None, model: str) -> Any:
    """LPIPS on the model's own trunk, or on AlexNet, fetched for models of the hub only.

    None where AlexNet is not to be had and the model is a full-size one, which does without.
    """
    large = is_full_size(model)
    if folder is not None and (folder / "perceptual").is_dir():
        if large:
            raise SparksError(
                f"{folder / 'perceptual'} is a trunk for small models; remove it, so that LPIPS "
                "is measured by AlexNet"
            )
        from sparks.pocket.perceptual import load_perceptual

        return load_perceptual(folder / "perceptual")
    import lpips

    trunk = Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    try:
        if not trunk.is_file() and Path(model).expanduser().exists():
            raise OSError("a model of this machine fetches nothing")
        return lpips.LPIPS(net="alex", verbose=False).requires_grad_(False)
    except OSError as error:
        if large:
            log.warning("LPIPS terms are off: no AlexNet at %s (%s)", trunk, error)
            return None
        raise SparksError(
            f"the losses lpips and temporal need AlexNet at {trunk} ({error}); fetch it with "
            "python -c 'import lpips; lpips.LPIPS()', or set their weights to 0"
        ) from error


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
    return task.write_source(scratch), settings


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


def _conclude(
    run: Run, prepared: Prepared, outcome: Outcome, report: Silent, pictures: bool
) -> Settings:
    """Render at full guidance, ask the critic once more, and write everything."""
    report.stage("rendering at full guidance")
    problem, config = prepared.problem, prepared.config
    best = problem.space.decode(outcome.best.z[None])
    noise = outcome.best.seed
    edited = problem.render(best, config.guidance.final, noise)
    baseline = prepared.baseline()
    result = {
        "run_dir": str(run.folder),
        "solver": config.solver.name,
        "space": config.space.name,
        "seed": config.seed,
        "p_yes_baseline": outcome.start.p_yes,
        "p_yes_best": outcome.best.p_yes,
        "p_yes_edited": problem.ask(edited),
        "p_yes_judge_baseline": judged(prepared, baseline),
        "p_yes_judge_edited": judged(prepared, edited),
        "losses": dict(outcome.best.losses.terms),
        "spent": problem.meter.spent(),
        "skipped": outcome.skipped,
        "stopped_by": outcome.stopped_by,
    }
    if planned := prepared.facts.get("memory"):
        log.info("peak memory: %.1f GiB", peak_memory(problem.device) / 2**30)
        result["memory"] = {**planned, "measured": peak_memory(problem.device)}
    if remarks := getattr(prepared.solver, "report", None):
        result["solver_report"] = remarks
    made = recipe(config, prepared.facts, result, outcome.best.index, noise)
    report.stage("writing the videos")
    run.save_best(best, made)
    source = prepared.source if config.sound != "none" else replace(prepared.source, waveform=None)
    run.save_videos(
        source,
        replace(source, frames=baseline.cpu()),
        with_sound(replace(source, frames=edited.cpu()), prepared, best),
        json.dumps(made),
        pictures,
    )
    run.finish(result, pictures)
    return result


def judged(prepared: Prepared, frames: Tensor) -> float | None:
    """The held-out critic's P(yes) of `frames [T, 3, H, W]`."""
    if prepared.judge is None:
        return None
    with torch.no_grad():
        return float(prepared.judge.log_odds(frames[None], prepared.problem.prompt).sigmoid())


def with_sound(clip: Clip, prepared: Prepared, controls: Controls) -> Clip:
    """The clip, with the tuned sound if the settings ask for it."""
    if prepared.config.sound != "tuned":
        return clip
    waveform, rate = prepared.problem.editor.decode_audio(controls.alpha)
    return replace(clip, waveform=waveform.clamp(-1, 1), sample_rate=rate).cut(len(clip.frames))


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


def _check_device(name: str | None) -> None:
    if name is None:
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise SparksError(
            f"device {name!r} cannot be used on this machine; choose another, e.g. cpu"
        ) from error


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise SparksError(f"dtype is {name!r}; choose float32, bfloat16 or float16")
    return dtype
