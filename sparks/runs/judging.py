"""What judges a render: critics and objective, built from settings."""

import inspect
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks import registry
from sparks.critics.base import Critic
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.files import place
from sparks.models.machine import read_dtype
from sparks.models.weights import is_full_size
from sparks.registry import complete, declared
from sparks.runs.cache import Cache, stamp
from sparks.search.evaluation import Watch
from sparks.search.objective import Objective
from sparks.search.scoring import p_yes
from sparks.settings.construct import construct
from sparks.settings.schema import Config, CriticSettings
from sparks.settings.yaml import Settings
from sparks.spaces.base import Space


def build_critic(
    part: str,
    wanted: CriticSettings,
    config: Config,
    conditioning: Conditioning,
    folder: Path | None,
    cache: Cache,
) -> Critic:
    """A critic, on the model's own weights unless others are given.

    Args:
        part: what it is for, `critic` or `judge`; the folder of the model's own weights for it.
        wanted: which one, and how it is shown a video.
        config: of the edit.
        conditioning: of the clip, on the device where the critic shall be.
        folder: the model's, None for an editor that has none.
        cache: what an earlier edit loaded, taken over where it is the same.

    Raises:
        SparksError: it cannot be built from these settings, or there are no weights for it.
    """
    factory = registry.critics.get(wanted.name)
    model, bundled = wanted.model, declared(factory, Critic, "bundled")
    own = part if bundled is None else bundled.format(part=part)
    if model is None and bundled is not None and folder is not None and (folder / own).is_dir():
        model = str(folder / own)
    device = conditioning.device
    given: Settings = {
        "device": device,
        "dtype": read_dtype(wanted.dtype)
        or (torch.bfloat16 if device.type == "cuda" else torch.float32),
        "fps": conditioning.fps,
        "num_frames": wanted.num_frames,
        "sampling": wanted.sampling,
    }
    if model is not None:
        given["model"] = model
    elif bundled is not None:
        raise SparksError(
            f"model {config.model!r} brings no weights in {own}/ for {part} {wanted.name!r}; "
            f"give {part}.model, a folder or hub id"
        )

    def build(settings: Settings) -> Critic:
        shown = {"num_frames": wanted.num_frames, "sampling": wanted.sampling}
        inner = Config.resolve({"critic": shown | settings}).critic
        return build_critic(part, inner, config, conditioning, folder, Cache())

    more = {"static_prompt": config.static_prompt, "build": build}
    heeds = config.static_prompt if more.keys() & inspect.signature(factory).parameters else None
    recipe = [factory, given, wanted.options, stamp(model), stamp(folder), heeds]

    def critic() -> Critic:
        return complete(construct(part, factory, wanted.options, **given, **more), Critic)

    return cache.get(part, recipe, critic)


@dataclass(frozen=True)
class Judge:
    """A critic that no search has seen, and what it is shown."""

    critic: Critic
    watch: Watch
    prompt: str
    seed: int

    def __call__(self, frames: Tensor) -> float:
        """P(yes) of `frames [T, 3, H, W]`."""
        return p_yes(self.critic, frames, self.prompt, self.watch, self.seed)


def build_judge(
    config: Config, conditioning: Conditioning, folder: Path | None, cache: Cache
) -> Judge | None:
    """The held-out critic, by default the model's own; it is shown what the critic is shown.

    Raises:
        SparksError: see `build_critic`.
    """
    if config.judge is None and not (folder is not None and (folder / "judge").is_dir()):
        return None
    wanted = config.judge or CriticSettings(**asdict(config.critic.watch))
    critic = build_critic("judge", wanted, config, conditioning, folder, cache)
    return Judge(critic, wanted.watch, conditioning.prompt, config.seed)


def build_objective(
    config: Config, start: Controls, space: Space, folder: Path | None, cache: Cache
) -> Objective:
    """The loss of an edit whose controls start at `start` (batch 1).

    Raises:
        SparksError: see `perceptual_distance`.
    """
    options, anchor = config.objective, _anchor(config, start, space)
    distance = None
    if options.weights.lpips or options.weights.temporal:
        recipe = [folder, stamp(folder and folder / "perceptual")]
        distance = cache.get("distance", recipe, lambda: perceptual_distance(folder, config.model))
        distance = distance.to(anchor.alpha.device)
    return Objective(
        options.weights,
        anchor,
        distance=distance,
        reduction=options.reduction,
        latent_schedule=options.latent_schedule,
        max_frames=options.max_frames,
        max_pairs=options.max_pairs,
        size=options.size,
    )


def _anchor(config: Config, start: Controls, space: Space) -> Controls:
    """Where the latent terms are measured from."""
    if config.objective.anchor == "source":
        return start
    return space.decode(torch.zeros(1, space.dim, device=start.alpha.device))


def perceptual_distance(folder: Path | None, model: str) -> Any:
    """LPIPS on the model's own trunk, or on AlexNet, fetched for models of the hub only.

    Args:
        folder: the model's, None for an editor that has none.
        model: as the settings name it.

    Raises:
        SparksError: AlexNet is not to be had, or a full-size model has a small one's trunk.
    """
    if folder is not None and (folder / "perceptual").is_dir():
        if is_full_size(model):
            raise SparksError(
                f"{folder / 'perceptual'} is a trunk for small models; remove it, so that LPIPS "
                "is measured by AlexNet"
            )
        from sparks.pocket.perceptual import load_perceptual

        return load_perceptual(folder / "perceptual")
    import lpips

    trunk = Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    try:
        if not trunk.is_file() and place(str(model)).exists():
            raise OSError("a model of this machine fetches nothing")
        return lpips.LPIPS(net="alex", verbose=False).requires_grad_(False)
    except OSError as error:
        raise SparksError(
            f"the losses lpips and temporal need AlexNet at {trunk} ({error}); fetch it with "
            "python -c 'import lpips; lpips.LPIPS()', or do without them: "
            "--set objective.weights.lpips=0 --set objective.weights.temporal=0"
        ) from error
