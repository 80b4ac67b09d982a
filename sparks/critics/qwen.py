"""Frozen Qwen2.5-VL as a differentiable critic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sparks.critics.chat import answer_ids, question_inputs
from sparks.critics.loading import load_parts
from sparks.critics.preprocess import Norm, Preprocess
from sparks.critics.sampling import MODES, glance
from sparks.errors import SparksError

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration

QUESTION = (
    "Does this video clearly show the action or state change described by the edit prompt: "
    "\"{prompt}\"? Answer only 'yes' or 'no'."
)


def yes_no_logits(
    model: Qwen2_5_VLForConditionalGeneration,
    inputs: Mapping[str, Tensor],
    answers: Sequence[int],
) -> Tensor:
    """Logits of the answer tokens at the answer position, [B, len(answers)] float32.

    `inputs` are `question_inputs` with `pixel_values_videos`. Only the rows of the head that are
    asked for are applied, and in float32, since bfloat16 logits come in steps of 1/8. Works in
    training (gradients reach every weight, also under autocast) as well as on a frozen model.
    """
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, -1]
    rows = model.lm_head.weight[list(answers)]
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden.float() @ rows.float().T


def embed_patches(embed: nn.Module, patches: Tensor) -> Tensor:
    """The first layer of a Qwen2.5-VL, `[N, C * T * P * P]` to `[N, width]`, as one product.

    There it is a convolution whose stride is its kernel, of which the backward pass on a CPU takes
    nine times as long.
    """
    weight: Tensor = embed.proj.weight  # type: ignore[union-attr, assignment]
    return F.linear(patches.to(weight.dtype), weight.flatten(1))


_Side = Annotated[int, Field(ge=1)]


class QwenCritic:
    """Asks a frozen Qwen2.5-VL whether a video shows what the prompt says.

    P(yes) is the softmax over the two answer tokens only. The gradient reaches the frames; the
    weights are frozen.

    Args:
        model: a folder written by `save_pretrained`, a hub id, or a network and its tokenizer.
        num_frames: frames per question; made even, and no more than the video has.
        sampling: which frames, one of `sampling.MODES`.
        size: (height, width) shown to the model; None keeps the frames' own, rounded to patches.
        question: the template; `{prompt}` stands for the edit prompt.
        answers: the words for yes and no; the last sub-token of each is scored.
        norm: `clip`, as the processor does, or `legacy`, 0.5 for mean and deviation.
        fps: frame rate of the videos, which sets the positions in time; may be changed later.

    Raises:
        SparksError: no such model, another architecture, or a bad option.
    """

    differentiable = True
    calls = 1
    bundled = "{part}"

    def __init__(
        self,
        model: str | PathLike[str] | tuple[Any, Any],
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        num_frames: int = 8,
        sampling: str = "linspace",
        size: tuple[_Side, _Side] | None = None,
        question: str = QUESTION,
        answers: tuple[str, str] = ("yes", "no"),
        norm: Norm = "clip",
        fps: float | Fraction = 25,
    ) -> None:
        if sampling not in MODES:
            raise SparksError(
                f"unknown frame sampling {sampling!r}; choose one of {', '.join(MODES)}"
            )
        self.model, self.tokenizer = model if isinstance(model, tuple) else _load(model, dtype)
        self.model.to(device).eval().requires_grad_(False)
        first = self.model.model.visual.patch_embed
        first.forward = partial(embed_patches, first)
        vision = self.model.config.vision_config
        self.preprocess = Preprocess(
            vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size, size, norm
        )
        self.answers = answer_ids(self.tokenizer, answers)
        self.num_frames, self.sampling = num_frames, sampling
        self.question, self.fps = question, fps
        self._inputs: dict[tuple[Any, ...], dict[str, Tensor]] = {}

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        """log(P(yes) / P(no)) of each video, [B] float32; one forward for the whole batch.

        Args:
            frames: [B, T, 3, H, W] in [0, 1].
            prompt: fills the question template.
            indices: the frames to look at, ascending; by default chosen by `sampling`.
        """
        if indices is None:
            indices = glance(frames.shape[1], self.num_frames, self.sampling)
        chosen = frames[:, list(indices)].to(self.model.device)
        pixels, grid = self.preprocess(chosen)
        inputs = self._question(prompt, tuple(grid[0].tolist()), self._seconds(indices))
        batch = {
            name: value.expand(len(frames), *value.shape[1:]) for name, value in inputs.items()
        }
        logits = yes_no_logits(self.model, {**batch, "pixel_values_videos": pixels}, self.answers)
        return logits[:, 0] - logits[:, 1]

    def _seconds(self, indices: Sequence[int]) -> float:
        """Seconds between two grid steps: frames covered per frame taken, over the frame rate."""
        covered = indices[-1] - indices[0] + 1
        return float(self.preprocess.temporal_patch_size * covered / len(indices) / self.fps)

    def _question(
        self, prompt: str, grid: tuple[int, int, int], seconds: float
    ) -> dict[str, Tensor]:
        text = self.question.replace("{prompt}", prompt)
        key = (text, grid, seconds)
        if key not in self._inputs:
            inputs = question_inputs(self.tokenizer, self.model.config, [text], grid, seconds)
            self._inputs[key] = {k: v.to(self.model.device) for k, v in inputs.items()}
        return self._inputs[key]


def _load(model: str | PathLike[str], dtype: str | torch.dtype) -> list[Any]:
    return load_parts(
        str(model),
        "qwen2_5_vl",
        "Qwen/Qwen2.5-VL-3B-Instruct",
        Qwen2_5_VLForConditionalGeneration={"dtype": dtype},
        AutoTokenizer={},
    )
