"""What judges a render: critics and objective, built from settings."""

import inspect
from pathlib import Path
from typing import Any

import torch

from sparks import registry
from sparks.critics.base import Critic
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.models.machine import read_dtype
from sparks.models.weights import is_full_size
from sparks.runs.cache import Kept, stamp
from sparks.search.objective import Objective
from sparks.settings.construct import construct
from sparks.settings.schema import Config, CriticSettings
from sparks.settings.yaml import Settings
from sparks.spaces.base import Space


def build_critic(
    part: str,
    asked: CriticSettings,
    config: Config,
    conditioning: Conditioning,
    folder: Path | None,
    kept: Kept,
) -> Any:
    """A critic, on the model's own weights unless others are given.

    Args:
        part: what it is for, `critic` or `judge`; the folder of the model's own weights for it.
        asked: which one, and how it is shown a video.
        config: of the edit.
        conditioning: of the clip, on the device where the critic shall be.
        folder: the model's, None for an editor that has none.
        kept: what an earlier edit loaded, taken over where it is the same.

    Raises:
        SparksError: it cannot be built from these settings, or there are no weights for it.
    """
    factory = registry.critics.get(asked.name)
    model, own = asked.model, getattr(factory, "bundled", part)
    if model is None and folder is not None and (folder / own).is_dir():
        model = str(folder / own)
    device = conditioning.device
    given: Settings = {
        "device": device,
        "dtype": read_dtype(asked.dtype)
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
        critic: Critic = build_critic(part, inner, config, conditioning, folder, Kept())
        return critic

    more = {"static_prompt": config.static_prompt, "build": build}
    heeds = config.static_prompt if more.keys() & inspect.signature(factory).parameters else None
    recipe = [factory, given, asked.options, stamp(model), stamp(folder), heeds]
    return kept.get(part, recipe, lambda: construct(part, factory, asked.options, **given, **more))


def build_judge(
    config: Config, conditioning: Conditioning, folder: Path | None, kept: Kept
) -> Critic | None:
    """The held-out critic, by default the model's own; it is shown what the critic is shown.

    Raises:
        SparksError: see `build_critic`.
    """
    if config.judge is None and not (folder is not None and (folder / "judge").is_dir()):
        return None
    given = {} if config.judge is None else config.judge.model_dump(exclude_unset=True)
    shown: Settings = {"num_frames": config.critic.num_frames, "sampling": config.critic.sampling}
    asked = CriticSettings(**(shown | given))
    judge: Critic = build_critic("judge", asked, config, conditioning, folder, kept)
    return judge


def build_objective(
    config: Config, start: Controls, space: Space, folder: Path | None, kept: Kept
) -> Objective:
    """The loss of an edit whose controls start at `start` (batch 1).

    Raises:
        SparksError: see `perceptual_distance`.
    """
    options, anchor = config.objective, _anchor(config, start, space)
    distance = None
    if options.weights.lpips or options.weights.temporal:
        recipe = [folder, stamp(folder and folder / "perceptual")]
        distance = kept.get("distance", recipe, lambda: perceptual_distance(folder, config.model))
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
        if not trunk.is_file() and Path(model).expanduser().exists():
            raise OSError("a model of this machine fetches nothing")
        return lpips.LPIPS(net="alex", verbose=False).requires_grad_(False)
    except OSError as error:
        raise SparksError(
            f"the losses lpips and temporal need AlexNet at {trunk} ({error}); fetch it with "
            "python -c 'import lpips; lpips.LPIPS()', or do without them: "
            "--set objective.weights.lpips=0 --set objective.weights.temporal=0"
        ) from error
