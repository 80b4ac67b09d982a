"""The loss of an edit, term by term.

    L = -log(P_yes + eps)    vlm
      + w_a |alpha - alpha_0|^2 + w_v |delta_v|^2    latent_alpha, latent_v
      + w_l LPIPS(x, x_base) + w_t max(0, D_temp(x) - D_temp(x_base))    lpips, temporal

`D_temp` is the mean LPIPS between neighbouring frames. Terms are reported with their weight, so
that they add up to the total; a weight of 0 leaves a term out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.editors.controls import Controls
from sparks.errors import SparksError

EPS = 1e-8

Reduction = Literal["mean", "sum"]
LatentSchedule = Literal["constant", "linear", "cosine_increase"]


@dataclass(frozen=True)
class Losses:
    """Weighted loss terms of one evaluation by name, and their sum.

    Examples:
        >>> Losses({"vlm": 0.5, "lpips": 0.25}).total
        0.75
    """

    terms: Mapping[str, float]

    @property
    def total(self) -> float:
        """Sum of the terms."""
        return sum(self.terms.values())


@dataclass(frozen=True)
class Weights:
    """What each term counts; 0 leaves it out.

    Raises:
        SparksError: a negative weight, or none that is a number.

    Examples:
        >>> Weights(lpips=0).latent_alpha
        0.01
    """

    vlm: float = 1.0
    latent_alpha: float = 0.01
    latent_v: float = 0.001
    lpips: float = 0.1
    temporal: float = 0.05

    def __post_init__(self) -> None:
        for name, weight in vars(self).items():
            if not 0 <= weight < math.inf:
                raise SparksError(f"weight {name} is {weight}; it must be 0 or more")


class Objective:
    """Loss terms of a batch of candidates, each `[B]` and weighted.

    Args:
        weights: of the terms.
        start: untuned controls (batch 1), from which the latent terms are measured.
        distance: an `lpips.LPIPS`, needed for the terms `lpips` and `temporal` only.
        reduction: `mean` over elements in the latent terms (the reference code), or `sum`.
        latent_schedule: how the latent weights grow over the search, from 0.1 to 3 times.
        max_frames: frames compared by `lpips`, evenly spaced.
        max_pairs: neighbouring frames compared by `temporal`, evenly spaced.
        size: (height, width) that LPIPS sees; None is the frames' own.
    """

    def __init__(
        self,
        weights: Weights,
        start: Controls,
        *,
        distance: Any = None,
        reduction: Reduction = "mean",
        latent_schedule: LatentSchedule = "constant",
        max_frames: int = 16,
        max_pairs: int = 12,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.weights, self.start, self.distance = weights, start.detach(), distance
        self.reduction, self.latent_schedule = reduction, latent_schedule
        self.max_frames, self.max_pairs, self.size = max_frames, max_pairs, size
        # What compares frames `[B, T, 3, H, W]` with the prompt-only `[T, 3, H, W]`, `[B]`.
        self._preserving = {"lpips": self._away, "temporal": self._flickers_more}

    @property
    def needs_reference(self) -> bool:
        """Whether the prompt-only render takes part."""
        return any(getattr(self.weights, name) for name in self._preserving)

    def vlm(self, log_odds: Tensor) -> Tensor:
        """-log(P_yes + eps) of the critic's `log_odds [B]`."""
        return self.weights.vlm * -(log_odds.sigmoid() + EPS).log()

    def latent(self, controls: Controls, progress: float = 0.0) -> dict[str, Tensor]:
        """Squared distance of the controls from the untuned ones.

        `progress` of the search is 0 for the first evaluation and 1 for the last.
        """
        scale = _schedule(self.latent_schedule, progress)
        pairs = {
            "latent_alpha": (controls.alpha, self.start.alpha),
            "latent_v": (controls.delta_v, self.start.delta_v),
        }
        weighted = (
            (name, scale * getattr(self.weights, name), *pair) for name, pair in pairs.items()
        )
        return {name: w * self._squared(value - anchor) for name, w, value, anchor in weighted if w}

    def preserve(self, frames: Tensor, reference: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Distance of `frames [B, T, 3, H, W]` from the prompt-only `reference [T, 3, H, W]`.

        One term at a time, so that the graph of one can be freed before the next is built.
        """
        for name, term in self._preserving.items():
            if weight := getattr(self.weights, name):
                yield name, weight * term(frames, reference)

    def _away(self, frames: Tensor, reference: Tensor) -> Tensor:
        """LPIPS(x, x_base)."""
        chosen = _spread(frames.shape[1], self.max_frames)
        return self._lpips(frames[:, chosen], reference[chosen].expand_as(frames[:, chosen]))

    def _flickers_more(self, frames: Tensor, reference: Tensor) -> Tensor:
        """max(0, D_temp(x) - D_temp(x_base))."""
        return (self._flicker(frames) - self._flicker(reference[None]).detach()).relu()

    def _squared(self, difference: Tensor) -> Tensor:
        squares = difference.square().flatten(1)
        # alpha may be empty, and the mean of nothing is NaN.
        mean = self.reduction == "mean" and squares.shape[1] > 0
        return squares.mean(1) if mean else squares.sum(1)

    def _flicker(self, frames: Tensor) -> Tensor:
        """D_temp `[B]`."""
        first = _spread(frames.shape[1] - 1, self.max_pairs)
        return self._lpips(frames[:, first], frames[:, [index + 1 for index in first]])

    def _lpips(self, frames: Tensor, others: Tensor) -> Tensor:
        """Mean distance `[B]` between `[B, n, 3, H, W]` in [0, 1]."""
        pairs = (self._shown(frames.flatten(0, 1)), self._shown(others.flatten(0, 1)))
        return self.distance(*pairs, normalize=True).view(len(frames), -1).mean(1)

    def _shown(self, images: Tensor) -> Tensor:
        if self.size is None or images.shape[-2:] == torch.Size(self.size):
            return images
        return F.interpolate(images, self.size, mode="bilinear", align_corners=False)


def _spread(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` indices, evenly spaced with both ends."""
    steps = torch.linspace(0, count - 1, min(count, limit)).round().int()
    return [int(step) for step in steps]


def _schedule(name: LatentSchedule, progress: float) -> float:
    if name == "constant":
        return 1.0
    ramp = progress if name == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return 0.1 + 2.9 * ramp
