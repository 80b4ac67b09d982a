"""Frames to Qwen2.5-VL patches, differentiable and equal to the Hugging Face video processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sparks.errors import SparksError

#: Channel mean and standard deviation. The processor's are CLIP's; `legacy` maps [0, 1] to [-1, 1].
Norm = Literal["clip", "legacy"]
NORMS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "legacy": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@dataclass(frozen=True)
class Preprocess:
    """Resize, normalise and cut into patches.

    `size` is the (height, width) shown to the critic, each a multiple of patch_size * merge_size;
    None keeps the frames' own, rounded to the nearest multiple.

    Raises:
        SparksError: an unknown `norm`, or a `size` that is no such multiple.
    """

    patch_size: int = 14
    temporal_patch_size: int = 2
    merge_size: int = 2
    size: tuple[int, int] | None = None
    norm: Norm = "clip"

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise SparksError(
                f"unknown critic norm {self.norm!r}; choose one of {', '.join(NORMS)}"
            )
        if self.size and any(side < 1 or side % self.cell for side in self.size):
            height, width = self.size
            raise SparksError(
                f"critic size {height}x{width} must be multiples of {self.cell}; "
                f"try {self._snap(height)}x{self._snap(width)}"
            )

    @property
    def cell(self) -> int:
        """Pixels on a side of one merged token."""
        return self.patch_size * self.merge_size

    def __call__(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Cut a batch of videos into patches, in float32.

        Args:
            frames: [B, T, 3, H, W] in [0, 1]; an odd T is completed by repeating the last frame.

        Returns:
            `pixel_values_videos` [B * t * h * w, 3 * temporal_patch_size * patch_size**2] and
            `video_grid_thw` [B, 3], each row (t, h, w).
        """
        frames = self._normalise(self._resize(frames.float()))
        if missing := -frames.shape[1] % self.temporal_patch_size:
            frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        return self.patchify(frames)

    def _resize(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        size = self.size or (self._snap(height), self._snap(width))
        if size == (height, width):
            return frames
        # No clamp: the processor does not clamp float frames, and a clamp has no gradient.
        flat = interpolate(frames.flatten(0, 1), size, mode="bicubic", antialias=True)
        return flat.unflatten(0, frames.shape[:2])

    def _snap(self, side: int) -> int:
        return max(1, round(side / self.cell)) * self.cell

    def _normalise(self, frames: Tensor) -> Tensor:
        mean, std = (frames.new_tensor(values).view(3, 1, 1) for values in NORMS[self.norm])
        return (frames - mean) / std

    def patchify(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Cut frames `[B, T, 3, H, W]` of any type as `__call__` does, T being even."""
        batch, num_frames, channels, height, width = frames.shape
        p, m = self.patch_size, self.merge_size
        t, h, w = num_frames // self.temporal_patch_size, height // p, width // p
        # Axes: batch, t, frame in pair, channel, then (h, w) each as cell, patch in cell, pixel.
        cells = frames.reshape(
            batch, t, self.temporal_patch_size, channels, h // m, m, p, w // m, m, p
        )
        patches = cells.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
        grid = torch.tensor([[t, h, w]], device=frames.device).expand(batch, -1)
        return patches.reshape(batch * t * h * w, -1), grid
