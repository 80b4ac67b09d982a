"""Guidance of the denoised prediction, per modality."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparks.errors import SparksError

if TYPE_CHECKING:
    from torch import Tensor

PASSES = ("cond", "uncond", "perturbed", "isolated")


@dataclass(frozen=True)
class ModalityGuidance:
    """Strengths for one modality; the defaults switch every term off.

    Attributes:
        guidance_scale: against the negative prompt (CFG), 1 is off.
        stg_scale: against perturbed self-attention (spatio-temporal guidance), 0 is off.
        modality_scale: against cut audio-video attention, 1 is off.
        rescale: how far the result's spread is pulled back to the conditional one's, 0 is off.
        stg_blocks: transformer blocks whose self-attention `stg_scale` perturbs; those of
            `Guidance` if None.
    """

    guidance_scale: float = 1.0
    stg_scale: float = 0.0
    modality_scale: float = 1.0
    rescale: float = 0.0
    stg_blocks: tuple[int, ...] | None = None

    @property
    def weights(self) -> dict[str, float]:
        """Weight of `cond - other` for each other pass that takes part."""
        terms = {
            "uncond": self.guidance_scale - 1,
            "perturbed": self.stg_scale,
            "isolated": self.modality_scale - 1,
        }
        return {name: weight for name, weight in terms.items() if weight}


@dataclass(frozen=True)
class Guidance:
    """Guidance of a render. `Guidance()` is one plain forward per step.

    Attributes:
        video: strengths for the video.
        audio: strengths for the audio, of effect only where the audio is regenerated, except
            that `stg_scale` decides whether its self-attention is perturbed for the video too.
        stg_blocks: transformer blocks whose self-attention `stg_scale` perturbs, in the modalities
            that name none of their own.
        skip_step: steps that reuse the last prediction after each evaluated one.
    """

    video: ModalityGuidance = ModalityGuidance()
    audio: ModalityGuidance = ModalityGuidance()
    stg_blocks: tuple[int, ...] = ()
    skip_step: int = 0

    def __post_init__(self) -> None:
        """Refuse guidance that cannot act.

        Raises:
            SparksError: when STG has no blocks to perturb, or a number is out of range.
        """
        for modality in (self.video, self.audio):
            for name in ("guidance_scale", "stg_scale", "modality_scale"):
                if not 0 <= getattr(modality, name) < math.inf:
                    raise SparksError(f"{name} is {getattr(modality, name)}; it must be 0 or more")
            if modality.rescale < 0 or modality.rescale > 1:
                raise SparksError(f"rescale is {modality.rescale}; it is a share, from 0 to 1")
            blocks = self._blocks(modality)
            if modality.stg_scale and not blocks:
                raise SparksError(
                    "stg_scale is set but stg_blocks is empty; list the blocks to perturb"
                )
            if min(blocks, default=0) < 0:
                raise SparksError(f"stg_blocks has {min(blocks)}; blocks are counted from 0")
        if self.skip_step < 0:
            raise SparksError(f"skip_step is {self.skip_step}; it must be 0 or more")

    @property
    def perturbed(self) -> tuple[frozenset[int], frozenset[int]]:
        """The blocks whose self-attention STG perturbs, of the video and of the audio."""
        video, audio = (
            frozenset(self._blocks(modality) if modality.stg_scale else ())
            for modality in (self.video, self.audio)
        )
        return video, audio

    def check_blocks(self, count: int) -> None:
        """Refuse to perturb blocks that a transformer of `count` blocks does not have.

        Raises:
            SparksError: naming the block and the last one there is.
        """
        for block in sorted(frozenset().union(*self.perturbed)):
            if block >= count:
                raise SparksError(
                    f"stg_blocks has {block}, but the model's last block is {count - 1}; name "
                    "blocks that it has, or set stg_scale=0 and stg_blocks=[]"
                )

    def check_steps(self, steps: int, grad_steps: int) -> None:
        """Refuse to skip all of the steps that carry gradient, the last `grad_steps` of `steps`.

        Raises:
            SparksError: naming all three.
        """
        last_run = (steps - 1) // (self.skip_step + 1) * (self.skip_step + 1)
        if last_run < steps - grad_steps:
            raise SparksError(
                f"skip_step is {self.skip_step}: none of the last {grad_steps} of {steps} steps is "
                "run, so that nothing has a gradient; lower skip_step or raise grad_steps"
            )

    def _blocks(self, modality: ModalityGuidance) -> tuple[int, ...]:
        return self.stg_blocks if modality.stg_blocks is None else modality.stg_blocks


UNGUIDED = Guidance()


def combine(guidance: ModalityGuidance, predictions: Mapping[str, "Tensor"]) -> "Tensor":
    """Guided prediction of one modality.

        pred = c + (cfg - 1)(c - u) + stg (c - p) + (mod - 1)(c - q)
        pred * (r std(c) / std(pred) + 1 - r)

    Args:
        guidance: the strengths.
        predictions: denoised `[B, n, C]` per pass: `cond`, and those in `guidance.weights`.

    Returns:
        `[B, n, C]`; the spread is measured over all tokens of a row, kept ones included.
    """
    cond = predictions["cond"]
    guided = cond
    for name, weight in guidance.weights.items():
        guided = guided + weight * (cond - predictions[name])
    if guidance.rescale == 0:
        return guided
    ratio = cond.std(dim=(1, 2), keepdim=True) / guided.std(dim=(1, 2), keepdim=True)
    return guided * (guidance.rescale * ratio + 1 - guidance.rescale)
