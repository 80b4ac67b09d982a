"""Frozen CLIP and X-CLIP as differentiable critics: is the video nearer to the prompt or not?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from sparks.critics.loading import load_parts
from sparks.critics.sampling import MODES, glance
from sparks.errors import SparksError

_FILTERS = {2: "bilinear", 3: "bicubic"}  # as PIL numbers them


@dataclass(frozen=True)
class Pixels:
    """Resize, centre-crop and normalise frames, differentiably, as an image processor does.

    `size` is the short side, or (height, width); `crop` is (height, width) or none.
    """

    size: int | tuple[int, int]
    crop: tuple[int, int] | None
    mean: Sequence[float]
    std: Sequence[float]
    mode: str = "bicubic"

    @classmethod
    def of(cls, processor: Any) -> Pixels:
        """The settings of a transformers image processor.

        Raises:
            SparksError: it resizes in a way that is not known here.
        """
        size, crop = processor.size, processor.crop_size if processor.do_center_crop else None
        short = size.shortest_edge
        if processor.resample not in _FILTERS or not (short or size.height):
            raise SparksError(
                f"image processor resizes to {size} by filter {processor.resample}; give a critic "
                "model whose processor has a shortest_edge, or height and width, and a bilinear or "
                "bicubic filter"
            )
        return cls(
            short or (size.height, size.width),
            (crop.height, crop.width) if crop else None,
            tuple(processor.image_mean),
            tuple(processor.image_std),
            _FILTERS[processor.resample],
        )

    def __call__(self, frames: Tensor) -> Tensor:
        """`frames [B, T, 3, H, W]` in [0, 1] as the model's `[B, T, 3, h, w]`, float32."""
        flat = frames.float().flatten(0, 1)
        if (size := self._resized(*flat.shape[-2:])) != tuple(flat.shape[-2:]):
            # No clamp: processors do not clamp float frames, and a clamp has no gradient.
            flat = interpolate(flat, size, mode=self.mode, antialias=True)
        if self.crop:
            flat = _centre(flat, *self.crop)
        mean, std = (flat.new_tensor(value).view(3, 1, 1) for value in (self.mean, self.std))
        return ((flat - mean) / std).unflatten(0, frames.shape[:2])

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size
        short, long = sorted((height, width))
        other = int(self.size * long / short)
        return (self.size, other) if height <= width else (other, self.size)


def _centre(frames: Tensor, height: int, width: int) -> Tensor:
    """The middle of `[N, 3, H, W]`, black where it is too small."""
    missing = [max(0, height - frames.shape[-2]), max(0, width - frames.shape[-1])]
    if any(missing):
        tall, wide = missing
        edges = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
        frames = torch.nn.functional.pad(frames, edges)
    top, left = (frames.shape[-2] - height) // 2, (frames.shape[-1] - width) // 2
    return frames[..., top : top + height, left : left + width]


def clip_logits(model: Any, pixels: Tensor, texts: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
    """Logits `[B, texts]` of videos `pixels [B, T, 3, h, w]`, the mean over their frames.

    Also CLIP's whole output. Works in training as well as on a frozen model.
    """
    output = model(pixel_values=pixels.flatten(0, 1), **texts)
    video = output.image_embeds.unflatten(0, pixels.shape[:2]).float().mean(1)
    return _similarity(model, video, output.text_embeds.expand(len(video), -1, -1)), output


def xclip_logits(model: Any, pixels: Tensor, texts: Mapping[str, Tensor]) -> tuple[Tensor, Any]:
    """Logits `[B, texts]` of videos `pixels [B, T, 3, h, w]`, T being what the model takes.

    Also X-CLIP's whole output. Works in training as well as on a frozen model.
    """
    output = model(pixel_values=pixels, **texts)
    return _similarity(model, output.video_embeds.float(), output.text_embeds), output


def _similarity(model: Any, video: Tensor, text: Tensor) -> Tensor:
    """Of `video [B, D]` to `text [B, texts, D]`, in float32 since the scale may be a hundred."""
    with torch.autocast(video.device.type, enabled=False):
        return model.logit_scale.exp() * torch.einsum("bd,bkd->bk", video, text.float())


class _Contrast(ABC):
    """What the two critics share; each names its model and how that sees a video."""

    differentiable = True
    calls = 1
    bundled: str | None = None
    _kind: str
    _example: str

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        *,
        static_prompt: str | None = None,
        contrast: Sequence[str] = (),
        scale: Annotated[float, Field(gt=0)] = 1.0,
        device: str | torch.device = "cpu",
        num_frames: int = 8,
        sampling: str = "linspace",
    ) -> None:
        if sampling not in MODES:
            raise SparksError(
                f"unknown frame sampling {sampling!r}; choose one of {', '.join(MODES)}"
            )
        if not scale > 0:
            raise SparksError(f"critic scale is {scale}; it must be positive")
        self.contrast = list(contrast) or ([static_prompt] if static_prompt else [])
        self.model, self.tokenizer, processor = load_parts(
            str(model or self._example),
            self._kind.lower(),
            self._example,
            **{f"{self._kind}Model": {"dtype": torch.float32}},
            AutoTokenizer={},
            AutoImageProcessor={},
        )
        self.model.to(device).eval().requires_grad_(False)
        self.pixels = Pixels.of(processor)
        self.scale, self.num_frames, self.sampling = scale, num_frames, sampling

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        """log(P(prompt) / P(contrast)) of each video, [B] float32.

        Args:
            frames: [B, T, 3, H, W] in [0, 1].
            prompt: what the video should be nearer to than to any of `contrast`.
            indices: the frames to look at, ascending; by default chosen by `sampling`.

        Raises:
            SparksError: there is nothing to contrast the prompt with.
        """
        against = [text for text in self.contrast if text != prompt]
        if not against:
            raise SparksError(
                f"a {self._kind} critic has nothing to contrast {prompt!r} with; say what the "
                "source shows with --static-prompt, or set critic.contrast"
            )
        if indices is None:
            indices = glance(frames.shape[1], self.num_frames, self.sampling)
        pixels = self.pixels(frames[:, self._look(indices)].to(self.model.device))
        logits = self._logits(pixels, self.tokens([prompt, *against]))
        return self.scale * (logits[:, 0] - logits[:, 1:].logsumexp(1))

    def tokens(self, texts: list[str]) -> dict[str, Tensor]:
        """Texts as the model takes them."""
        length = self.model.config.text_config.max_position_embeddings
        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        return {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}

    def _look(self, indices: Sequence[int]) -> list[int]:
        return list(indices)

    @abstractmethod
    def _logits(self, pixels: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        """Similarity `[B, texts]` of each video to each text."""


class ClipCritic(_Contrast):
    """How much nearer the frames are to the prompt than to a contrast prompt, by a frozen CLIP.

    P(yes) is CLIP's zero-shot probability of the prompt against the contrast prompts, where a video
    is as near to a text as its frames are on average. It sees no order in time. The weights stay in
    float32; the gradient reaches the frames.

    Args:
        model: a folder written by `save_pretrained` (model, tokenizer, image processor), or a hub
            id.
        static_prompt: what the source shows; the contrast unless `contrast` is given.
        contrast: prompts that the video should not be near to; may be changed later.
        scale: multiplies the log odds; 1 is the model's own temperature.
        num_frames: frames looked at, if not told which.
        sampling: which frames, one of `sampling.MODES`.

    Raises:
        SparksError: no such model, another architecture, or a bad option.
    """

    bundled = "clip"
    _kind, _example = "CLIP", "openai/clip-vit-base-patch32"

    def _logits(self, pixels: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        return clip_logits(self.model, pixels, texts)[0]


class XClipCritic(_Contrast):
    """As `ClipCritic`, by a frozen X-CLIP, which compares the video as a whole.

    The model looks at a fixed number of frames: as many are spread evenly over those it is shown.
    This is X-CLIP for video recognition (Ni et al. 2022).
    """

    bundled = "xclip"
    _kind, _example = "XCLIP", "microsoft/xclip-base-patch32"

    def _look(self, indices: Sequence[int]) -> list[int]:
        steps = self.model.config.vision_config.num_frames - 1
        return [indices[round(i * (len(indices) - 1) / max(1, steps))] for i in range(steps + 1)]

    def _logits(self, pixels: Tensor, texts: Mapping[str, Tensor]) -> Tensor:
        return xclip_logits(self.model, pixels, texts)[0]
