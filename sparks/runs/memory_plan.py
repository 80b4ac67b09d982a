"""How much memory an edit needs, part by part, and how the denoiser is kept so that it fits.

Encoding and search follow each other: the text encoder is gone before the denoiser is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparks.editors.footprint import STORAGES, block_bytes, decoder_bytes
from sparks.errors import SparksError
from sparks.files import read_json
from sparks.models.weights import find, is_full_size, parameters
from sparks.settings.layers import recommended
from sparks.settings.schema import Config

if TYPE_CHECKING:
    import torch

GIB = 2**30
_LARGE = 8 * GIB
SPARE = 0.05  # of the free memory, for what is not counted
_TEXT = ("text_encoder", "connectors")
_CODECS = ("vae", "audio_vae", "vocoder")
_AT_WORK = 0.046  # share of the denoiser that is always at full size: all but the blocks, and one


@dataclass(frozen=True)
class Shape:
    """What a render holds: the size of the clip, and of the denoiser of LTX-2.

    Attributes:
        frames, height, width: of the clip.
        grad_steps: denoising steps that carry gradient.
        layers, inner: blocks of the denoiser and their width.
        channels: of the decoder at its finest.
        temporal, spatial: frames, and pixels along a side, that a latent cell stands for.
    """

    frames: int = 89
    height: int = 320
    width: int = 512
    grad_steps: int = 8
    layers: int = 48
    inner: int = 4096
    channels: int = 256
    temporal: int = 8
    spatial: int = 32

    def activations(self, itemsize: int, *, short: bool) -> int:
        """Bytes held at the worst moment of the backward pass.

        They are the blocks' checkpoints, and what is gone back through: a block, or the decoder,
        which is done in stages where memory is short.
        """
        latents = (self.frames - 1) // self.temporal + 1
        cells = latents * self.height * self.width // self.spatial**2
        states = cells * self.inner * itemsize * self.layers * self.grad_steps
        pixels = self.frames * self.height * self.width
        decoder = decoder_bytes(pixels, self.channels, itemsize) // (4 if short else 1)
        return states + max(block_bytes(cells, self.inner, itemsize), decoder)


@dataclass(frozen=True)
class MemoryPlan:
    """Where the parts of an edit are, and what they need.

    Attributes:
        device: the name of it.
        free: bytes that could be had before anything was loaded.
        storage: of the denoiser, see `sparks.editors.storage`.
        text_device: where prompts are encoded, None for the device.
        phases: bytes by part, for each phase.
    """

    device: str
    free: int
    storage: str
    text_device: str | None
    phases: Mapping[str, Mapping[str, int]]

    def peak(self, phase: str) -> int:
        """Bytes that a phase needs."""
        return sum(self.phases[phase].values())

    @property
    def fits(self) -> bool:
        """Whether every phase does."""
        return all(self.peak(phase) <= self.free * (1 - SPARE) for phase in self.phases)

    @property
    def large(self) -> bool:
        """Whether people need to think about memory at all."""
        return self.peak("search") > _LARGE

    def lines(self) -> list[str]:
        """The plan for people to read."""
        head = f"memory of {self.device}: {self.free / GIB:.1f} GiB free, denoiser {self.storage}"
        rows = [
            f"  {phase}: {self.peak(phase) / GIB:.1f} GiB ("
            + ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items())
            + ")"
            for phase, parts in self.phases.items()
        ]
        on_cpu = [f"  prompts are encoded on the {self.text_device}"] if self.text_device else []
        return [head, *rows, *on_cpu]

    def record(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "device": self.device,
            "free": self.free,
            "storage": self.storage,
            "text_device": self.text_device,
            "phases": {phase: dict(parts) for phase, parts in self.phases.items()},
        }


def make_plan(
    editor: Mapping[str, int],
    critics: int,
    shape: Shape | None,
    *,
    device: str,
    free: int,
    itemsize: int = 2,
    storage: str | None = None,
) -> MemoryPlan:
    """The quickest way that fits, or the one asked for.

    Args:
        editor: parameters of the editor's components by name.
        critics: parameters of the critics together.
        shape: of what is rendered; None leaves it out.
        device: the name of the device, for people.
        free: bytes that can be had.
        itemsize: bytes of a parameter.
        storage: of the denoiser, whether or not it fits; chosen if None.

    Returns:
        The last way, `offload`, if none fits.
    """
    plans = [
        _plan(editor, critics, shape, device, free, itemsize, way)
        for way in ([storage] if storage else STORAGES)
    ]
    return next((plan for plan in plans if plan.fits), plans[-1])


def _plan(
    editor: Mapping[str, int],
    critics: int,
    shape: Shape | None,
    device: str,
    free: int,
    itemsize: int,
    storage: str,
) -> MemoryPlan:
    codecs = itemsize * sum(editor.get(name, 0) for name in _CODECS)
    text = itemsize * sum(editor.get(name, 0) for name in _TEXT)
    here = text + codecs <= free * (1 - SPARE)
    search = {
        "denoiser": _denoiser(editor.get("transformer", 0), storage, itemsize),
        "codecs": codecs,
        "critics": itemsize * critics,
    }
    if shape is not None:
        search["activations"] = shape.activations(itemsize, short=storage != "resident")
    encoding = {"codecs": codecs} | ({"text encoder": text} if here else {})
    phases = {"encoding": encoding, "search": search}
    return MemoryPlan(device, free, storage, None if here else "cpu", phases)


def _denoiser(count: int, storage: str, itemsize: int) -> int:
    whole = count * itemsize
    if storage == "resident":
        return whole
    return math.ceil(whole * _AT_WORK) + (count if storage == "fp8" else 0)


def plan_edit(config: Config, device: torch.device) -> MemoryPlan | None:
    """The plan of an edit with these settings; None for models of unknown size.

    Raises:
        SparksError: it does not fit in any way, and none was asked for.
    """
    import torch

    from sparks.models.machine import device_name, free_memory

    editor = parameters(config.model)
    if "transformer" not in editor:
        return None
    storage = config.editor.options.get("storage")
    cuda = device.type == "cuda"
    plan = make_plan(
        editor,
        _critics(config, editor),
        _shape(config),
        device=device_name(device),
        free=free_memory(device),
        itemsize=getattr(torch, config.dtype or ("bfloat16" if cuda else "float32")).itemsize,
        storage=storage if cuda or storage else "resident",
    )
    if not plan.fits and not storage:
        raise SparksError(
            f"{config.model} needs {max(map(plan.peak, plan.phases)) / GIB:.1f} GiB and "
            f"{plan.free / GIB:.1f} GiB of {plan.device} are free; lower clip.num_frames or "
            "sampling.grad_steps, use a smaller critic, or set editor.storage to try anyway"
        )
    return plan


def _critics(config: Config, editor: Mapping[str, int]) -> int:
    models = {"critic": config.critic.model, "judge": config.judge and config.judge.model}
    return sum(
        sum(parameters(model).values()) if model else editor.get(part, 0)
        for part, model in models.items()
    )


def _shape(config: Config) -> Shape | None:
    """Of the clip as far as it is known, and of the networks; the paper's for published models."""
    folder = find(config.model)
    told = recommended(folder) if folder else {}
    advice = Config.resolve({key: told[key] for key in ("clip",) if key in told}).clip
    size = config.clip.size or advice.size
    frames = config.clip.num_frames or advice.num_frames
    if (size is None or frames is None) and not is_full_size(config.model):
        return None
    height, width = size or (320, 512)
    steps = min(config.sampling.grad_steps, len(config.sampling.sigmas) - 1)
    return Shape(frames or 89, height, width, steps, **_networks(folder))


def _networks(folder: Path | None) -> dict[str, int]:
    """What `Shape` says of the networks, read off their configurations where these are here."""
    try:
        assert folder is not None
        network, vae = (read_json(folder / name / "config.json") for name in ("transformer", "vae"))
        told = {
            "layers": network["num_layers"],
            "inner": network["num_attention_heads"] * network["attention_head_dim"],
            "channels": vae["decoder_block_out_channels"][0],
            "temporal": vae["temporal_compression_ratio"],
            "spatial": vae["spatial_compression_ratio"],
        }
        return told if all(type(n) is int and n > 0 for n in told.values()) else {}
    except (AssertionError, OSError, ValueError, KeyError, TypeError):
        return {}  # loading will say what is wrong with them
