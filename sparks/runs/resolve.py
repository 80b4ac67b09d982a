"""The settings of an edit, resolved once and before anything is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sparks import registry
from sparks.critics.base import Critic
from sparks.editors.base import Editor
from sparks.errors import SparksError, shorten
from sparks.media.ffmpeg import check_video
from sparks.models.machine import check_device, read_dtype
from sparks.models.weights import fetch, find, is_hub_id
from sparks.pocket.tasks import PocketTask, default_task
from sparks.registry import complete, declared
from sparks.runs.keeping import read_keep
from sparks.runs.suitable import check_suitable
from sparks.runs.trackers import check_trackers
from sparks.search.budget import Budget
from sparks.search.protocols import Solver
from sparks.settings.construct import check_options, construct
from sparks.settings.layers import merge, recommended, without_code
from sparks.settings.schema import Config, CriticSettings
from sparks.settings.yaml import Settings
from sparks.spaces.base import TEXT_ONLY

# The parts of an edit that are plugins.
PARTS = {
    "editor": registry.editors,
    "space": registry.spaces,
    "solver": registry.solvers,
    "critic": registry.critics,
    "judge": registry.critics,
}
# What the program gives a plugin, which is no option of it.
GIVEN = {
    "space": ("start", "silence"),
    **dict.fromkeys(("critic", "judge"), ("device", "fps", "static_prompt", "build")),
}
FALLBACK: Settings = {"prefix_frames": 5}  # the paper's K


@dataclass(frozen=True)
class Resolved:
    """What decides an edit, nothing of it loaded.

    Attributes:
        config: what the user said, over the solver's space, the model's advice and the defaults.
        solver: built from it.
        folder: of the model, None for an editor that takes none.
        task: what is edited where the user names no video.
    """

    config: Config
    solver: Solver
    folder: Path | None
    task: PocketTask | None


def resolve(
    settings: Settings, *, fetching: bool = True, task: PocketTask | None = None
) -> Resolved:
    """Merge, check and fetch: every mistake that can be found before loading is found here.

    Later ones win: defaults, those of the editor, the bundled task, the `sparks.yaml` of the model,
    the space that the solver likes best, the settings.

    Args:
        settings: the user's; see `sparks.settings.schema.Config`.
        fetching: have the weights that hub ids name on this machine, too.
        task: what is edited if they name no video; by default the bundled task.

    Raises:
        SparksError: the first mistake found.
    """
    said = Config.resolve(settings)
    _check(said)
    if _model_folder(said, fetching=False) is None:  # it is fetched, which may take long
        _check_audio(said)
        _check_options(said, [part for part in PARTS if "name" in (settings.get(part) or {})])
    task = (task or default_task()) if said.video is None else None
    resolved = _checked(settings, _model_folder(said, fetching), task)
    for critic in _critics(resolved.config) if fetching else ():
        _fetch(critic)
    return resolved


def check_settings(settings: Settings) -> Config:
    """`resolve` without fetching anything; the configuration.

    Raises:
        SparksError: the first mistake found.
    """
    return resolve(settings, fetching=False).config


def fetch_weights(settings: Settings) -> None:
    """Have the weights that hub ids in `settings` name on this machine.

    Raises:
        SparksError: they are not, and cannot be fetched.
    """
    folder = _model_folder(Config.resolve(settings), fetching=True)
    advice = without_code(recommended(folder), folder, settings) if folder else {}
    for critic in _critics(Config.resolve(merge(advice, settings))):
        _fetch(critic)


def _checked(settings: Settings, folder: Path | None, task: PocketTask | None) -> Resolved:
    """All layers in their order, and whatever can be found wrong with them."""
    advice = without_code(recommended(folder), folder, settings) if folder else {}
    nearest = Config.resolve(merge(advice, settings))
    solver = _solver(nearest)
    space = {} if solver.default_space is None else {"space": solver.default_space}
    editor = declared(registry.editors.get(nearest.editor.name), Editor, "defaults")
    config = Config.resolve(merge(FALLBACK, editor, _asked(task), advice, space, settings))
    _check(config)
    _check_options(config)
    _check_audio(config)
    if folder is not None:
        check_suitable(config, folder, advice)
    if solver.needs_gradient:
        sampling = config.sampling
        config.guidance.tuning.check_steps(len(sampling.sigmas) - 1, sampling.grad_steps)
    return Resolved(config, solver, folder, task)


def _asked(task: PocketTask | None) -> Settings:
    """The settings that belong to the bundled task."""
    if task is None:
        return {}
    return {
        "prompt": task.prompt,
        "static_prompt": task.static_prompt,
        "prefix_frames": task.prefix_frames,
    }


def _check(config: Config) -> None:
    calls, windows = Budget.parse(config.budget).qwen_calls, config.critic.windows
    if calls is not None and calls < windows:
        raise SparksError(
            f"budget qwen_calls={calls} does not pay for one evaluation, which takes a call for "
            f"each of critic.windows={windows}; raise the budget"
        )
    read_keep(str(config.keep))
    check_trackers(config.listeners)
    for part, table in PARTS.items():
        if (wanted := getattr(config, part)) is not None:
            table.get(wanted.name)
    for critic in _critics(config):
        read_dtype(critic.dtype)
    for device in (config.device, *map(config.editor.options.get, ("device", "text_device"))):
        check_device(device)
    _check_devices(config)
    read_dtype(config.dtype)
    if config.video is not None:
        check_video(config.video)
        if not config.prompt:
            raise SparksError(f"no prompt for {config.video}; say what to show with --prompt")
    if config.prefix_frames is not None and config.window is not None:
        raise SparksError("give prefix_frames or window, not both: each says what is regenerated")


def _check_options(config: Config, parts: Collection[str] = PARTS) -> None:
    """Refuse options that the plugins do not take, before any is built."""
    for part in parts:
        wanted = getattr(config, part)
        if wanted is not None:
            factory = PARTS[part].get(wanted.name)
            check_options(part, factory, wanted.options, GIVEN.get(part, ()))


def _check_devices(config: Config) -> None:
    """See that batches can be shared by the devices that are named."""
    devices = config.editor.devices
    if devices is None:
        return
    factory = registry.editors.get(config.editor.name)
    if "device" not in inspect.signature(factory).parameters or "device" in config.editor.options:
        raise SparksError(
            f"editor.devices={devices}: the editor {config.editor.name} takes no device; leave "
            "it out"
        )
    for device in () if devices == "auto" else devices:
        check_device(device)
    first = ("cuda", "cuda:0") if devices == "auto" else devices[:1]
    if config.device is not None and config.device not in first:
        raise SparksError(
            f"device={config.device} is not the first of editor.devices={devices}; leave out one "
            "of the two"
        )


def _check_audio(config: Config) -> None:
    """Refuse to tune or to play the audio of an editor that has none."""
    if declared(registry.editors.get(config.editor.name), Editor, "has_audio"):
        return
    taken = inspect.signature(registry.spaces.get(config.space.name)).parameters
    for option, value in TEXT_ONLY.items():
        chosen = config.space.options.get(
            option, taken[option].default if option in taken else value
        )
        if chosen != value:
            _refuse_audio(f"space.{option}", chosen, value, config)
    if config.sound == "tuned":
        _refuse_audio("sound", config.sound, "source", config)
    if config.audio_prompt is not None:
        _refuse_audio("audio_prompt", config.audio_prompt, "null", config)


def _refuse_audio(key: str, chosen: str, value: str, config: Config) -> NoReturn:
    raise SparksError(
        f"{key} is {shorten(chosen)}, and the editor {config.editor.name} has no audio; "
        f"set {key}={value}"
    )


def _critics(config: Config) -> Iterator[CriticSettings]:
    yield config.critic
    if config.judge is not None:
        yield config.judge


def _solver(config: Config) -> Solver:
    factory = registry.solvers.get(config.solver.name)
    solver: Solver = construct("solver", factory, config.solver.options)
    return complete(solver, Solver)


def _model_folder(config: Config, fetching: bool) -> Path | None:
    """Of the model that the editor takes, whose advice is heard before anything is loaded."""
    if "model" not in inspect.signature(registry.editors.get(config.editor.name)).parameters:
        return None
    if fetching and is_hub_id(config.model):
        return fetch(config.model)
    return find(config.model)


def _fetch(critic: CriticSettings) -> None:
    weighs = declared(registry.critics.get(critic.name), Critic, "bundled") is not None
    if weighs and critic.model is not None and is_hub_id(critic.model):
        fetch(critic.model)
