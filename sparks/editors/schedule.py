"""Noise levels of the denoising loop, and how the loop is run."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from sparks.errors import SparksError

Schedule = Literal["ltx2", "distilled"]
AlphaGradient = Literal["direct", "reference"]
FrozenAudioSigma = Literal["schedule", "zero"]
CoordsDtype = Literal["float32", "bfloat16"]

# Retake always shifts as for 4096 tokens, whatever the size of the video.
_SHIFT = math.exp(2.05)
_TERMINAL = 0.1
_DISTILLED = (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0)


@dataclass(frozen=True)
class Sampling:
    """How a render runs through the denoising loop.

    Attributes:
        num_inference_steps: Euler steps of the `ltx2` schedule; `distilled` always has 8.
        grad_steps: last steps that carry gradient; earlier ones run without a graph.
        schedule: `ltx2`, or the fixed list of the distilled checkpoints.
        frozen_audio_sigma: noise level announced for a modality that is not regenerated: the
            schedule's (the paper) or zero (newer Retake).
        alpha_gradient: `direct` lets alpha enter every differentiable step at full weight;
            `reference` attaches it through the clean-latent blend only, one step late.
        coords_dtype: precision of the video positions; `bfloat16` is what LTX-2 1.0.0 does.
        checkpointing: recompute activations in the backward pass to save memory.
        refresh_prefix: a search's renders after which the steps without gradient are run anew; in
            between their last result is taken again, though the controls have moved. 1 is exact.
    """

    num_inference_steps: int = 30
    grad_steps: int = 8
    schedule: Schedule = "ltx2"
    frozen_audio_sigma: FrozenAudioSigma = "schedule"
    alpha_gradient: AlphaGradient = "direct"
    coords_dtype: CoordsDtype = "float32"
    checkpointing: bool = False
    refresh_prefix: int = 1

    def __post_init__(self) -> None:
        """Refuse values that no loop can run with.

        Raises:
            SparksError: naming the field, its value and what is allowed.
        """
        for name in ("num_inference_steps", "grad_steps", "refresh_prefix"):
            if getattr(self, name) < 1:
                raise SparksError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                options = " or ".join(allowed)
                raise SparksError(f"{name} is {getattr(self, name)!r}; choose {options}")

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise levels from 1 down to 0, one more than there are steps."""
        return _DISTILLED if self.schedule == "distilled" else ltx2_sigmas(self.num_inference_steps)


_CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": get_args(Schedule),
    "frozen_audio_sigma": get_args(FrozenAudioSigma),
    "alpha_gradient": get_args(AlphaGradient),
    "coords_dtype": get_args(CoordsDtype),
}


@cache
def ltx2_sigmas(steps: int) -> tuple[float, ...]:
    """The LTX-2 schedule: exponential shift, stretched to end at 0.1 before the final 0.

    With t_i = 1 - i/n and m = exp(2.05): s_i = m / (m + 1/t_i - 1), then
    1 - (1 - s_i) * (1 - 0.1) / (1 - s_{n-1}). A single step goes from 1 straight to 0.

    Rounded as in float32: the denoiser sees 1000 times these values, so the last bit shows.
    """
    import torch

    if steps == 1:
        return (1.0, 0.0)
    times = torch.linspace(1, 0, steps + 1)[:-1]
    below = 1 - _SHIFT / (_SHIFT + (1 / times - 1))
    stretched = 1 - below / (below[-1] / (1 - _TERMINAL))
    return (*stretched.tolist(), 0.0)
