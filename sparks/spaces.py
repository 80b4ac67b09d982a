"""Where solvers search: vectors z that stand for controls."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from sparks.controls import Controls
from sparks.errors import SparksError

MODES = ("both", "text", "audio")
AUDIO_INITS = ("source", "zero", "random")


@runtime_checkable
class Space(Protocol):
    """A set of controls with coordinates; `decode(0)` is where every search starts."""

    @property
    def dim(self) -> int:
        """Number of coordinates k."""

    def decode(self, z: Tensor) -> Controls:
        """Controls of B candidates `z [B, k]`, differentiable in `z`."""

    def encode(self, controls: Controls) -> Tensor:
        """Coordinates `[B, k]` of controls, as far as the space holds them."""


class FullSpace:
    """The paper's space: every element of the free controls, offset so that zero is the start.

    Args:
        start: untuned controls of one clip (batch 1).
        mode: which control is free: `both`, `text` (delta_v) or `audio` (alpha).
        audio_init: where alpha starts: the source's own, zeros, or standard normal noise.
        audio_init_seed: of that noise; the render's own noise is another seed's.

    Raises:
        SparksError: an unknown mode or audio_init.
    """

    def __init__(
        self,
        start: Controls,
        *,
        mode: str = "both",
        audio_init: str = "source",
        audio_init_seed: int = 42,
    ) -> None:
        _check("space mode", mode, MODES)
        _check("audio_init", audio_init, AUDIO_INITS)
        alpha = _initial_alpha(start.alpha.float(), audio_init, audio_init_seed)
        self.start = Controls(alpha, start.delta_v.float()).detach()
        self._sizes = (
            alpha.numel() if mode != "text" else 0,
            start.delta_v.numel() if mode != "audio" else 0,
        )

    @property
    def dim(self) -> int:
        """Number of free elements."""
        return sum(self._sizes)

    def decode(self, z: Tensor) -> Controls:
        """start + z, element by element; a control that is not free stays at its start."""
        parts = z.split(self._sizes, dim=1)
        return Controls(_offset(self.start.alpha, parts[0]), _offset(self.start.delta_v, parts[1]))

    def encode(self, controls: Controls) -> Tensor:
        """Exact for free elements; the others have no coordinate."""
        pairs = ((controls.alpha, self.start.alpha), (controls.delta_v, self.start.delta_v))
        offsets = [(value - origin).flatten(1) for value, origin in pairs]
        return torch.cat([o for o, n in zip(offsets, self._sizes, strict=True) if n], dim=1)


def _offset(origin: Tensor, offset: Tensor) -> Tensor:
    moved = origin.expand(len(offset), *origin.shape[1:])
    return moved + offset.reshape(moved.shape) if offset.shape[1] else moved


def _initial_alpha(alpha: Tensor, audio_init: str, seed: int) -> Tensor:
    if audio_init == "zero":
        return torch.zeros_like(alpha)
    if audio_init == "random":
        # Latents are normalised, so unit variance is their own scale.
        noise = torch.randn(alpha.shape, generator=torch.Generator().manual_seed(seed))
        return noise.to(alpha)
    return alpha


def _check(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SparksError(f"{what} is {value!r}; choose {', '.join(allowed)}")
