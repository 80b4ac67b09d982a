"""From settings to a problem that can be searched: everything loaded, encoded and checked."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from sparks import registry
from sparks.critics.base import Critic
from sparks.editors.base import Editor
from sparks.editors.conditioning import Conditioning
from sparks.editors.several import SeveralDevices, devices_of
from sparks.garbage import no_collection
from sparks.media.clip import Clip, fit_clip, read_clip
from sparks.models.fingerprint import fingerprints
from sparks.models.machine import read_dtype
from sparks.models.memory import enough_memory
from sparks.models.quiet import quiet_libraries
from sparks.registry import complete
from sparks.runs.cache import Cache, stamp
from sparks.runs.judging import Judge, build_critic, build_judge, build_objective
from sparks.runs.memory_plan import MemoryPlan, plan_edit
from sparks.runs.progress import Silent
from sparks.runs.resolve import Resolved, resolve
from sparks.search.budget import Budget, Meter
from sparks.search.foreign import blaming
from sparks.search.problem import EditProblem
from sparks.search.protocols import Solver
from sparks.settings.construct import construct
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings

# Settings that an encoded clip, and its prompt-only render at full guidance, depend on.
_ENCODED_BY = {
    *("prompt", "static_prompt", "negative_prompt", "audio_prompt", "prefix_frames", "window"),
    *("clip", "sampling", "guidance", "seed"),
}
# Settings that the memory an edit needs depends on.
_PLANNED_BY = {"model", "device", "dtype", "editor", "critic", "judge", "clip", "sampling"}


@dataclass(frozen=True)
class Prepared:
    """Everything an edit needs, loaded and checked.

    Attributes:
        config: what was resolved.
        source: the clip, brought to the shape that is edited.
        problem: to be searched.
        solver: that searches.
        judge: is never searched with; None if there is none.
        facts: what is edited, for the record.
        baseline: gives the prompt-only render at full guidance.
    """

    config: Config
    source: Clip
    problem: EditProblem
    solver: Solver
    judge: Judge | None
    facts: Settings
    baseline: Callable[[], Tensor]


def prepare(
    settings: Settings | Resolved,
    reporter: Silent | None = None,
    cache: Cache | None = None,
    budget: Budget | Meter | None = None,
    begun: Settings | None = None,
) -> Prepared:
    """Load models and clip, encode, and build the problem; arguments as of `sparks.edit`.

    Args:
        budget: of the problem, as of `EditProblem`; by default what the settings say.
        begun: facts of the run that is gone on with.

    Raises:
        SparksError: something about the input is wrong.
    """
    resolved = settings if isinstance(settings, Resolved) else resolve(settings)
    with no_collection(), quiet_libraries(), enough_memory("loading and encoding"):
        workshop = _Workshop(resolved, reporter or Silent(), cache or Cache(), budget)
        return workshop.prepare(begun or {})


def open_editor(settings: Settings, reporter: Silent | None = None) -> tuple[Editor, Config]:
    """The editor that the settings name, and all settings; no clip and no critic is loaded.

    Raises:
        SparksError: something about them is wrong.
    """
    resolved = resolve(settings)
    with no_collection(), quiet_libraries(), enough_memory("loading"):
        workshop = _Workshop(resolved, reporter or Silent(), Cache(), None)
        workshop.reporter.stage("loading the editor")
        return workshop.editor(workshop.plan())[0], resolved.config


class _Workshop:
    """Builds the parts of one edit, each taken from the cache where what it is made of is equal."""

    def __init__(
        self, resolved: Resolved, reporter: Silent, cache: Cache, budget: Budget | Meter | None
    ) -> None:
        self.resolved, self.config, self.folder = resolved, resolved.config, resolved.folder
        self.reporter, self.cache, self.budget = reporter, cache, budget

    def prepare(self, begun: Settings) -> Prepared:
        config = self.config
        torch.manual_seed(config.seed)
        self.reporter.stage("loading the editor")
        plan = self.plan()
        editor, origin = self.editor(plan)
        clip, source = self.clip(editor)
        self.reporter.stage("encoding clip and prompts")
        encoded = (origin, source["sha256"], config.model_dump(include=_ENCODED_BY))
        with blaming("editor", editor):
            conditioning = self.cache.get(
                "conditioning", encoded, lambda: _condition(editor, clip, config)
            )
            levers = self.settle(editor, conditioning, begun)
        self.reporter.stage("loading the critic")
        critic = build_critic(
            "critic", config.critic, config, conditioning, self.folder, self.cache
        )
        judge = build_judge(config, conditioning, self.folder, self.cache)
        torch.manual_seed(config.seed)  # whatever was loaded or cached, what follows draws the same
        problem = self.problem(editor, conditioning, critic)
        facts = _facts(config, clip, conditioning, source)
        facts |= {"fingerprint": fingerprints(self.folder)} if self.folder else {}
        facts |= {"levers": levers} if levers else {}
        facts |= {"memory": plan.record()} if plan is not None and plan.large else {}

        def render() -> Tensor:
            if config.guidance.final == config.guidance.tuning:
                return problem.baseline
            return problem.render(editor.start(conditioning), config.guidance.final)

        def baseline() -> Tensor:
            return self.cache.get("baseline", encoded, render)

        return Prepared(config, clip, problem, self.resolved.solver, judge, facts, baseline)

    def settle(
        self, editor: Editor, conditioning: Conditioning, begun: Settings
    ) -> Settings | None:
        """How the editor's networks are run, where it has a say in that."""
        if editor.settle is None:
            return None
        self.reporter.stage("loading the denoiser, choosing how it is run")
        return editor.settle(conditioning, self.config.sampling, begun.get("levers"))

    def plan(self) -> MemoryPlan | None:
        """See that everything fits before it is loaded."""
        inputs = [self.config.model_dump(include=_PLANNED_BY), stamp(self.folder)]
        default = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(self.config.device or default)
        plan = self.cache.get("plan", inputs, lambda: plan_edit(self.config, device))
        for line in plan.lines() if plan is not None and plan.large else ():
            self.reporter.stage(line)
        return plan

    def editor(self, plan: MemoryPlan | None) -> tuple[Editor, Any]:
        """The editor, and all that decides which one it is."""
        config = self.config
        factory = registry.editors.get(config.editor.name)
        devices = devices_of(config.editor.devices)
        given: Settings = {"model": config.model, "device": config.device}
        given |= {"device": devices[0]} if devices else {}
        given["dtype"] = read_dtype(config.dtype)
        if plan is not None:
            given |= {"storage": plan.storage, "text_device": plan.text_device}
        given = {name: value for name, value in given.items() if name not in config.editor.options}
        origin = [factory, given, config.editor.options, stamp(self.folder)]

        def one(device: Settings) -> Editor:
            editor: Editor = construct("editor", factory, config.editor.options, **given | device)
            return complete(editor, Editor)

        def build() -> Editor:
            every = [one({"device": device}) for device in devices]
            return cast("Editor", SeveralDevices(every)) if every else one({})

        return self.cache.get("editor", [*origin, devices], build), origin

    def clip(self, editor: Editor) -> tuple[Clip, dict[str, str]]:
        """The source in the shape that is edited, with its file's name and digest."""
        self.reporter.stage("reading the clip")
        with tempfile.TemporaryDirectory() as scratch:
            video = self.source(Path(scratch))
            clip = _read(video, self.config, editor)
            with video.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        return clip, {"name": video.name, "sha256": digest}

    def source(self, scratch: Path) -> Path:
        task = self.resolved.task
        if task is None:
            return Path(str(self.config.video))
        path = scratch / f"{task.name}.mp4"
        task.source.write(path, task.static_prompt)
        return path

    def problem(self, editor: Editor, conditioning: Conditioning, critic: Critic) -> EditProblem:
        config = self.config
        start = editor.start(conditioning)
        factory = registry.spaces.get(config.space.name)
        silence = conditioning.silence
        space = construct("space", factory, config.space.options, start=start, silence=silence)
        return EditProblem(
            editor,
            conditioning,
            critic,
            space,
            build_objective(config, start, space, self.folder, self.cache),
            budget=Budget.parse(config.budget) if self.budget is None else self.budget,
            sampling=config.sampling,
            guidance=config.guidance.tuning,
            watch=config.critic.watch,
            seed=config.seed,
        )


def _read(video: Path, config: Config, editor: Editor) -> Clip:
    shape = config.clip
    fps = None if shape.fps is None else Fraction(shape.fps).limit_denominator(1001)  # of 23.976
    return fit_clip(
        read_clip(video, fps=fps, size=shape.size, max_frames=shape.num_frames, fit=shape.fit),
        multiple=editor.spatial_multiple,
        temporal=editor.temporal_compression,
        size=shape.size,
        num_frames=shape.num_frames,
        fit=shape.fit,
    )


def _condition(editor: Editor, clip: Clip, config: Config) -> Conditioning:
    """Encode once; a silent clip gets the sound the editor imagines for it, if it has audio."""
    prompt = config.prompt or ""
    conditioning = editor.prepare(
        clip,
        prompt,
        negative_prompt=config.negative_prompt,
        prefix_frames=config.prefix_frames,
        window=config.window,
        seed=config.seed,
    )
    if clip.waveform is None and editor.has_audio:
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
        "settings": config.digests(),
    }
