"""Where solvers search: vectors z that stand for controls."""

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from math import prod
from typing import Annotated, Any, Literal, Protocol, get_args, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

from sparks.editors.controls import Controls
from sparks.errors import SparksError

# What a solver without gradients searches unless the user names a space: with the few hundred
# evaluations of a budget, it cannot learn about thousands of coordinates.
LOW_DIMENSIONAL: dict[str, Any] = {"name": "temporal"}
Mode = Literal["both", "text", "audio"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
AudioInit = Literal["source", "zero", "random"]
MODES: dict[str, tuple[str, ...]] = {
    "both": ("alpha", "delta_v"),
    "text": ("delta_v",),
    "audio": ("alpha",),
}
TEXT_ONLY = {"mode": "text", "audio_init": "source"}  # all that an editor without audio leaves


@runtime_checkable
class Space(Protocol):
    """A set of controls with coordinates; `decode(0)` is where every search starts.

    Attributes:
        rate: what Adam learns at here, unless told otherwise.
        sigma: standard deviation of the coordinates of what a search draws first, likewise.
    """

    rate: float = 5e-3
    sigma: float = 0.5

    @property
    def dim(self) -> int:
        """Number of coordinates k."""

    def decode(self, z: Tensor) -> Controls:
        """Controls of B candidates `z [B, k]`, differentiable in `z`."""

    def encode(self, controls: Controls) -> Tensor:
        """Coordinates `[B, k]` of controls, as far as the space holds them."""


class Basis(Protocol):
    """How some coordinates move one control away from its start."""

    @property
    def dim(self) -> int:
        """Number of coordinates."""

    def offset(self, z: Tensor) -> Tensor:
        """`z [B, dim]` to `[B, ...]`, shaped like the control; zero at zero, differentiable."""

    def fit(self, offset: Tensor) -> Tensor:
        """Coordinates `[B, dim]` of the offset that comes closest to `offset [B, ...]`."""


@dataclass(eq=False, repr=False)
class OffsetSpace(ABC):
    """The start plus an offset for each free control, each with coordinates of its own.

    Attributes:
        rate: what Adam learns at here, unless told otherwise.
        sigma: standard deviation of the coordinates of what a search draws first, likewise.

    Args:
        start: untuned controls of one clip (batch 1).
        mode: which control is free: `both`, `text` (delta_v) or `audio` (alpha).
        audio_init: where alpha starts: the source's own, zeros, or standard normal noise.
        audio_init_seed: of that noise; the render's own noise is another seed's.

    Raises:
        SparksError: an unknown mode or audio_init, one that needs audio where there is none, or an
            option that a basis refuses.
    """

    rate = 0.3  # of coordinates of which 1 moves the clip visibly
    sigma = 0.5

    start: Controls
    _: KW_ONLY
    mode: Mode = "both"
    audio_init: AudioInit = "source"
    audio_init_seed: Seed = 42

    def __post_init__(self) -> None:
        _check("space mode", self.mode, tuple(MODES))
        _check("audio_init", self.audio_init, get_args(AudioInit))
        untuned = self.start
        if not untuned.has_audio:
            _check_text_only(mode=self.mode, audio_init=self.audio_init)
        alpha = _initial_alpha(untuned.alpha.float(), self.audio_init, self.audio_init_seed)
        self.start = Controls(alpha, untuned.delta_v.float()).detach()
        self._bases = {name: self.basis(name, getattr(untuned, name)) for name in MODES[self.mode]}

    @abstractmethod
    def basis(self, name: str, control: Tensor) -> Basis:
        """Coordinates of a free control: its name, and its untuned value `[1, ...]`."""

    @property
    def dim(self) -> int:
        """Number of coordinates k, alpha's before delta_v's."""
        return sum(basis.dim for basis in self._bases.values())

    def decode(self, z: Tensor) -> Controls:
        """Start plus offsets; a control that is not free stays at its start."""
        parts = z.split([basis.dim for basis in self._bases.values()], dim=1)
        pairs = zip(self._bases.items(), parts, strict=True)
        offsets = {name: basis.offset(part) for (name, basis), part in pairs}
        return Controls(
            **{
                name: offsets[name] + origin
                if name in offsets
                else origin.expand(len(z), *origin.shape[1:])
                for name, origin in vars(self.start).items()
            }
        )

    def encode(self, controls: Controls) -> Tensor:
        """Of the nearest controls that the space holds; what is not free has no coordinate."""
        fits = (
            basis.fit(getattr(controls, name) - getattr(self.start, name))
            for name, basis in self._bases.items()
        )
        return torch.cat(list(fits), dim=1)


class FullSpace(OffsetSpace):
    """The paper's space: every element of the free controls is a coordinate.

    Args:
        start, mode, audio_init, audio_init_seed: see `OffsetSpace`.
    """

    rate = 5e-3  # the paper's learning rate
    sigma = 0.02  # of the authors' PPO: noise on every element soon drowns what it is added to

    def basis(self, name: str, control: Tensor) -> Basis:
        """The identity."""
        return _Elements(control.shape[1:])


class _Elements:
    """One coordinate for each element."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape, self.dim = shape, prod(shape)

    def offset(self, z: Tensor) -> Tensor:
        return z.reshape(-1, *self.shape)

    def fit(self, offset: Tensor) -> Tensor:
        return offset.flatten(1)


def _initial_alpha(alpha: Tensor, audio_init: str, seed: int) -> Tensor:
    if audio_init == "zero":
        return torch.zeros_like(alpha)
    if audio_init == "random":
        # Latents are normalised, so unit variance is their own scale.
        noise = torch.randn(alpha.shape, generator=torch.Generator().manual_seed(seed))
        return noise.to(alpha)
    return alpha


def _check_text_only(**chosen: str) -> None:
    for option, value in TEXT_ONLY.items():
        if chosen[option] != value:
            raise SparksError(
                f"space {option} is {chosen[option]!r}, and this editor has no audio; set "
                f"space.{option}={value}"
            )


def _check(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SparksError(f"{what} is {value!r}; choose {', '.join(allowed)}")
