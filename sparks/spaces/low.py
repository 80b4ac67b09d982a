"""Spaces of few coordinates, in which a search without gradients has a chance.

In `TemporalSpace` and `RandomSpace` a coordinate of 1 moves its control by `scale` standard
deviations (root mean square), which changes the clip visibly; so z ~ N(0, sigma^2 I) over k
coordinates of one control moves it by `sigma * scale * sqrt(k)`. No k x d matrix is ever made.
"""

from dataclasses import dataclass
from math import inf, prod, sqrt
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from sparks.editors.conditioning import pack_audio, unpack_audio
from sparks.errors import SparksError
from sparks.spaces.base import Basis, OffsetSpace, Seed

# Told before anything is loaded, when a user says it.
_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0)]


@dataclass(eq=False, repr=False, kw_only=True)
class TemporalSpace(OffsetSpace):
    """Sound that changes smoothly, text that changes in a few ways.

    alpha moves by cosines over time (DCT-II, the lowest frequencies) times seeded random
    directions over channels and bins; delta_v by random directions over tokens times random
    directions over features: `X = R Z C` with a free `Z [frequencies or rank, rank]`.

    Args:
        frequencies: cosines over time, the constant included.
        rank: directions over features, and over tokens.
        scale: standard deviations that a coordinate of 1 stands for.
        seed: of the directions.
        fade: one more coordinate for alpha, which at 1 fades the whole sound out, and a landmark
            there: a sound that says nothing leaves the video to the prompt.
        silence: alpha of a silent track `[1, ...]`, from the editor.
        start, mode, audio_init, audio_init_seed: see `sparks.spaces.base.OffsetSpace`.

    Raises:
        SparksError: more directions than a control has, a number out of range, or nothing to fade
            to.
    """

    frequencies: _Count = 4
    rank: _Count = 4
    scale: _Positive = 0.5
    seed: Seed = 0
    fade: bool = False
    silence: Tensor | None = None

    def __post_init__(self) -> None:
        _check_positive(frequencies=self.frequencies, rank=self.rank, scale=self.scale)
        if self.fade and self.silence is None:
            raise SparksError("space fade is on, and the editor tells no silence; leave fade out")
        super().__post_init__()

    @property
    def landmarks(self) -> Tensor:
        """Silence, where it has a coordinate and the sound is free: `[0 or 1, k]`."""
        alpha = self._bases.get("alpha")
        marks = torch.zeros(int(isinstance(alpha, _Fading)), self.dim)
        if len(marks) and alpha is not None:
            marks[0, alpha.dim - 1] = 1
        return marks.to(self.start.alpha.device)

    def basis(self, name: str, control: Tensor) -> Basis:
        """Fixed factors on both sides of a small free matrix."""
        generator = _generator(self.seed, name)
        rows, columns = _matrix_shape(control)
        if name == "alpha":
            _check_at_most("frequencies", self.frequencies, rows, "alpha's time steps")
            left = _cosines(rows, self.frequencies)
        else:
            left = _directions(rows, self.rank, generator)
        right = _directions(columns, self.rank, generator)
        smooth = _Sandwich(control, left, right, self.scale * _deviation(name, control))
        if name != "alpha" or self.silence is None or not self.fade:
            return smooth
        return _Fading(smooth, self.silence.float() - self.start.alpha)


@dataclass(eq=False, repr=False, kw_only=True)
class LowRankSpace(OffsetSpace):
    """Offsets of low rank with both factors free: time x features of alpha, tokens x features.

    `X = u (A + R) B` with free `A [n, rank]` and `B [rank, m]` and a fixed random `R` of +-1, so
    that the gradient at zero is not zero (as in LoRA, Hu et al. 2021). There are
    `rank * (n + m)` coordinates; with all of `B` at 1 a control moves by `scale` standard
    deviations, and `A` matters once `B` does.

    Args:
        rank: of each control's offset.
        scale: see above.
        seed: of the fixed factor.
        start, mode, audio_init, audio_init_seed: see `sparks.spaces.base.OffsetSpace`.

    Raises:
        SparksError: a rank higher than a control's, or a number out of range.
    """

    rank: _Count = 1
    scale: _Positive = 0.5
    seed: Seed = 0

    def __post_init__(self) -> None:
        _check_positive(rank=self.rank, scale=self.scale)
        super().__post_init__()

    def basis(self, name: str, control: Tensor) -> Basis:
        """Two free factors."""
        _check_at_most("rank", self.rank, min(_matrix_shape(control)), f"the rank of {name}")
        unit = self.scale * _deviation(name, control) / sqrt(self.rank)
        return _Factors(control, self.rank, unit, _generator(self.seed, name))


@dataclass(eq=False, repr=False, kw_only=True)
class RandomSpace(OffsetSpace):
    """A seeded random subspace: k orthogonal directions, half of them for each free control.

    Every element of a control belongs to one coordinate, drawn at random, and follows it up or
    down by a random sign: a random projection (the count sketch, Charikar et al. 2002) that costs
    one index and one sign per element whatever k is.

    Args:
        k: coordinates in all.
        scale: standard deviations that a coordinate of 1 stands for.
        seed: of the subspace.
        start, mode, audio_init, audio_init_seed: see `sparks.spaces.base.OffsetSpace`.

    Raises:
        SparksError: more coordinates than elements, or a number out of range.
    """

    k: _Count = 32
    scale: _Positive = 0.5
    seed: Seed = 0

    def __post_init__(self) -> None:
        _check_positive(k=self.k, scale=self.scale)
        half = self.k // 2
        self.shares = {"alpha": self.k - half, "delta_v": half} if self.mode == "both" else {}
        if 0 in self.shares.values():
            raise SparksError("space k is 1; give 2 or more, or free one control only with mode")
        super().__post_init__()

    def basis(self, name: str, control: Tensor) -> Basis:
        """A share of the coordinates."""
        k = self.shares.get(name, self.k)
        _check_at_most(f"k's share for {name}", k, control[0].numel(), "its elements")
        unit = self.scale * _deviation(name, control)
        return _Sketch(control, k, unit, _generator(self.seed, name))


class _Sandwich:
    """`X = u R Z C` with fixed factors whose columns are orthogonal, of mean square 1.

    Args:
        control: `[1, ...]`, whose shape the offsets have.
        left: R `[n, p]`.
        right: C transposed `[m, q]`.
        unit: u, the root mean square of X for one coordinate of 1.
    """

    def __init__(self, control: Tensor, left: Tensor, right: Tensor, unit: float) -> None:
        self.shape, self.unit = control.shape[1:], unit
        self.left, self.right = left.to(control.device), right.to(control.device)
        self.dim = left.shape[1] * right.shape[1]

    def offset(self, z: Tensor) -> Tensor:
        free = z.unflatten(1, (self.left.shape[1], -1))
        return _from_matrix(self.unit * self.left @ free @ self.right.T, self.shape)

    def fit(self, offset: Tensor) -> Tensor:
        inner = self.left.T @ _to_matrix(offset) @ self.right
        return inner.flatten(1) / (self.unit * len(self.left) * len(self.right))


class _Fading:
    """Another basis, and a last coordinate along one direction `[1, ...]`."""

    def __init__(self, inner: _Sandwich, toward: Tensor) -> None:
        self.inner, self.toward, self.dim = inner, toward, inner.dim + 1
        # What of the direction the other coordinates cannot do tells how much of it there is.
        self.own = toward - inner.offset(inner.fit(toward))
        self.weight = self.own.square().sum().clamp_min(1e-12)

    def offset(self, z: Tensor) -> Tensor:
        last = z[:, -1].view(-1, *[1] * (self.toward.ndim - 1))
        return self.inner.offset(z[:, :-1]) + last * self.toward

    def fit(self, offset: Tensor) -> Tensor:
        last = (offset * self.own).flatten(1).sum(1) / self.weight
        rest = offset - last.view(-1, *[1] * (offset.ndim - 1)) * self.toward
        return torch.cat([self.inner.fit(rest), last[:, None]], dim=1)


class _Factors:
    """`X = u (A + R) B`, both A and B free."""

    def __init__(self, control: Tensor, rank: int, unit: float, generator: Generator) -> None:
        self.shape, self.rank, self.unit = control.shape[1:], rank, unit
        rows, columns = _matrix_shape(control)
        self.fixed = _signs(rows * rank, generator).view(rows, rank).to(control.device)
        self.dim = rank * (rows + columns)

    def offset(self, z: Tensor) -> Tensor:
        free, right = z.split([self.fixed.numel(), self.dim - self.fixed.numel()], dim=1)
        left = free.unflatten(1, self.fixed.shape) + self.fixed
        return _from_matrix(self.unit * left @ right.unflatten(1, (self.rank, -1)), self.shape)

    def fit(self, offset: Tensor) -> Tensor:
        """By the singular value decomposition; factors of equal weight."""
        left, values, right = torch.linalg.svd(_to_matrix(offset) / self.unit, full_matrices=False)
        roots = values[:, : self.rank].sqrt()
        free = left[..., : self.rank] * roots[:, None] - self.fixed
        return torch.cat(
            [free.flatten(1), (roots[..., None] * right[:, : self.rank]).flatten(1)], dim=1
        )


class _Sketch:
    """Every element follows one of k coordinates, with a sign."""

    def __init__(self, control: Tensor, k: int, unit: float, generator: Generator) -> None:
        self.shape, self.dim = control.shape[1:], k
        size = prod(self.shape)
        self.copies = -(-size // k)
        order = torch.randperm(size, generator=generator)
        # An element belongs to coordinate `order % k`; written as copies of z put in order, so that
        # gradients are sums of distinct places and the same on every run.
        self.order = order.to(control.device)
        # One coordinate moves a k-th of the elements, so those by sqrt(k).
        self.weights = (_signs(size, generator) * unit * sqrt(k)).to(control.device)

    def offset(self, z: Tensor) -> Tensor:
        moves = z.repeat(1, self.copies).index_select(1, self.order) * self.weights
        return moves.view(-1, *self.shape)

    def fit(self, offset: Tensor) -> Tensor:
        sums = offset.new_zeros(len(offset), self.dim)
        sums.index_add_(1, self.order % self.dim, offset.flatten(1) * self.weights)
        counts = torch.bincount(self.order % self.dim, minlength=self.dim)
        return sums / (counts * self.weights[0].square())


def _matrix_shape(control: Tensor) -> tuple[int, int]:
    rows, columns = _to_matrix(control).shape[1:]
    return rows, columns


def _to_matrix(offset: Tensor) -> Tensor:
    """alpha `[B, C, T, M]` to `[B, T, C*M]`; delta_v `[B, L, D]` is one already."""
    return pack_audio(offset) if offset.ndim == 4 else offset


def _from_matrix(matrix: Tensor, shape: torch.Size) -> Tensor:
    return unpack_audio(matrix, shape[0]) if len(shape) == 3 else matrix


def _deviation(name: str, control: Tensor) -> float:
    """Scale of a control's own values; v_p, to which delta_v is added, has mean square 1."""
    if name == "delta_v":
        return 1.0
    return float(control.float().std()) or 1.0  # latents are normalised, silence may be constant


def _generator(seed: int, name: str) -> Generator:
    """One for each control, so that a mode does not change what the other control's means."""
    return Generator().manual_seed(2 * seed + (name == "delta_v"))


def _cosines(steps: int, count: int) -> Tensor:
    """The first DCT-II vectors `[steps, count]`, each of mean square 1."""
    angles = torch.outer(torch.arange(steps) + 0.5, torch.arange(count)) * (torch.pi / steps)
    waves = angles.cos()
    return waves / waves.square().mean(0).sqrt()


def _directions(size: int, count: int, generator: Generator) -> Tensor:
    """Random orthogonal vectors `[size, count]`, each of mean square 1."""
    _check_at_most("rank", count, size, "a control's rows or columns")
    return torch.linalg.qr(torch.randn(size, count, generator=generator))[0] * sqrt(size)


def _signs(size: int, generator: Generator) -> Tensor:
    return torch.randint(2, (size,), generator=generator).float() * 2 - 1


def _check_positive(**options: float) -> None:
    for name, value in options.items():
        if not 0 < value < inf:
            raise SparksError(f"space {name} is {value}; it must be positive")


def _check_at_most(option: str, value: int, limit: int, what: str) -> None:
    if value > limit:
        raise SparksError(f"space {option} is {value}; {what} are {limit}, so give at most that")
