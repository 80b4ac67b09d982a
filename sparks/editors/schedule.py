"""Noise levels of the denoising loop, and how the loop is run."""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

from sparks.errors import SparksError, shorten

Schedule = Literal["ltx2", "distilled", "shifted", "linear_quadratic"]
AlphaGradient = Literal["direct", "reference"]
FrozenAudioSigma = Literal["schedule", "zero"]
CoordsDtype = Literal["float32", "bfloat16"]

MOST_STEPS = 1000

_TOKENS = 4096  # Retake always shifts as for so many, whatever the size of the video
_TERMINAL = 0.1
_LINEAR_END = 0.025  # how far `linear_quadratic` is from 1 after half of its steps
_DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)


@dataclass(frozen=True)
class Sampling:
    """How a render runs through the denoising loop.

    The last three do less in renders with gradient, those that a search takes its steps by; every
    other render is exact.

    Attributes:
        num_inference_steps: Euler steps; `distilled` always has 8.
        grad_steps: last steps run that carry gradient; earlier ones run without a graph.
        schedule: `ltx2`, or the fixed list of the distilled checkpoints; of LTX-Video `shifted`,
            as `ltx2` but by the size of the video, and `linear_quadratic` (since 0.9.5).
        frozen_audio_sigma: noise level announced for a modality that is not regenerated: the
            schedule's (the paper) or zero (newer Retake).
        alpha_gradient: `direct` lets alpha enter every differentiable step at full weight;
            `reference` attaches it through the clean-latent blend only, one step late.
        coords_dtype: precision of the video positions; `bfloat16` is what LTX-2 1.0.0 does.
        checkpointing: recompute activations in the backward pass to save memory.
        refresh_prefix: a search's renders after which the steps without gradient are run anew; in
            between their last result is taken again, though the controls have moved. 1 is exact.
        refresh_blocks: steps without gradient after which all transformer blocks are run anew; in
            between the first and the last run, and what the others added is added again. Each
            still counts as a forward. 1 is exact.
        stop_early: steps left out at the end, where the clean video that the last step run
            predicts is judged; one step is always run. 0 is exact.

    Examples:
        >>> sampling = Sampling(schedule="distilled", stop_early=6)
        >>> sampling.sigmas
        (1.0, 0.99375, 0.0)
    """

    num_inference_steps: int = 30
    grad_steps: int = 8
    schedule: Schedule = "ltx2"
    frozen_audio_sigma: FrozenAudioSigma = "schedule"
    alpha_gradient: AlphaGradient = "direct"
    coords_dtype: CoordsDtype = "float32"
    checkpointing: bool = False
    refresh_prefix: int = 1
    refresh_blocks: int = 1
    stop_early: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no loop can run with.

        Raises:
            SparksError: naming the field, its value and what is allowed.
        """
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise SparksError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.num_inference_steps > MOST_STEPS:
            raise SparksError(
                f"num_inference_steps is {shorten(self.num_inference_steps, 20)}; it must be at "
                f"most {MOST_STEPS}"
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                options = " or ".join(allowed)
                raise SparksError(f"{name} is {getattr(self, name)!r}; choose {options}")

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels from 1 down to 0, one more than there are steps to run."""
        return self.levels(_TOKENS)

    def levels(self, tokens: int) -> tuple[float, ...]:
        """As `sigmas`, of a video of so many latent tokens; most schedules do not ask for it."""
        *levels, end = self._schedule(tokens)
        # A step to 0 gives what the denoiser predicts.
        return (*levels[: max(len(levels) - self.stop_early, 1)], end)

    def _schedule(self, tokens: int) -> tuple[float, ...]:
        if self.schedule == "distilled":
            return _DISTILLED
        if self.schedule == "linear_quadratic":
            return linear_quadratic_sigmas(self.num_inference_steps)
        return shifted_sigmas(
            self.num_inference_steps, tokens if self.schedule == "shifted" else _TOKENS
        )

    @property
    def exact(self) -> "Sampling":
        """The same without anything that does less."""
        return replace(self, refresh_prefix=1, refresh_blocks=1, stop_early=0)


_COUNTS = ("num_inference_steps", "grad_steps", "refresh_prefix", "refresh_blocks")
_LEAST = dict.fromkeys(_COUNTS, 1) | {"stop_early": 0}
_CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": get_args(Schedule),
    "frozen_audio_sigma": get_args(FrozenAudioSigma),
    "alpha_gradient": get_args(AlphaGradient),
    "coords_dtype": get_args(CoordsDtype),
}


@cache
def shifted_sigmas(steps: int, tokens: int = _TOKENS) -> tuple[float, ...]:
    """Exponential shift, stretched to end at 0.1 before the final 0; of 4096 tokens for LTX-2.

    With t_i = 1 - i/n and m = exp(mu), mu linear from 0.95 at 1024 tokens to 2.05 at 4096:
    s_i = m / (m + 1/t_i - 1), then 1 - (1 - s_i) * (1 - 0.1) / (1 - s_{n-1}). A single step goes
    from 1 straight to 0.

    Rounded as in float32: the denoiser sees 1000 times these values, so the last bit shows.
    """
    import torch

    if steps == 1:
        return (1.0, 0.0)
    shift = math.exp(0.95 + (tokens - 1024) * (2.05 - 0.95) / (4096 - 1024))
    times = torch.linspace(1, 0, steps + 1)[:-1]
    below = 1 - shift / (shift + (1 / times - 1))
    stretched = 1 - below / (below[-1] / (1 - _TERMINAL))
    return (*stretched.tolist(), 0.0)


@cache
def linear_quadratic_sigmas(steps: int) -> tuple[float, ...]:
    """From 1, linearly by 0.025 in the first half of the steps, then quadratically down to 0.

    After i of n steps, h = n // 2 of them linear, the level is 1 - d_i with d_i = 0.025 i / h, and
    then d_i = a (i - h)^2 + b (i - h) + 0.025 where slope and end fit: b = 0.025 / h, d_n = 1.
    """
    half = steps // 2
    if not half:
        return (1.0, 0.0)
    rest, slope = steps - half, _LINEAR_END / half
    curve = (1 - _LINEAR_END - slope * rest) / rest**2
    below = [slope * i + curve * max(i - half, 0) ** 2 for i in range(steps)]
    return (*(1 - each for each in below), 0.0)
