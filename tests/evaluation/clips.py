"""Clips whose every metric is known: a textured ground, and squares that do as they are told."""

from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.media.clip import Clip
from sparks.search.metrics import Edited

SIDE, FRAMES, FPS = 96, 17, Fraction(25, 2)
RATE = 16000


def texture(height: int = SIDE, width: int = SIDE, seed: int = 0, smooth: int = 7) -> Tensor:
    """`[3, H, W]` smooth noise in [0.2, 0.8]: something to follow everywhere."""
    noise = torch.rand(1, 3, height + smooth, width + smooth, generator=_rng(seed))
    soft = F.avg_pool2d(noise, smooth, 1)[0, :, :height, :width]
    return 0.2 + 0.6 * (soft - soft.min()) / (soft.max() - soft.min())


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def still(frames: int = FRAMES, seed: int = 0) -> Tensor:
    """`[T, 3, SIDE, SIDE]`: nothing moves."""
    return texture(seed=seed).expand(frames, 3, SIDE, SIDE).clone()


def panning(step: int, frames: int = FRAMES) -> Tensor:
    """The whole picture moves to the right by `step` pixels a frame."""
    wide = texture(width=SIDE + step * frames)
    return torch.stack([wide[:, :, step * (frames - t) :][:, :, :SIDE] for t in range(frames)])


def square(at: list[int | None], size: int = 24, row: int = 36) -> Tensor:
    """A textured square whose left edge is at column `at[t]` of a still ground; None is away."""
    frames, patch = still(len(at)), texture(size, size, seed=9, smooth=3)
    patch = torch.stack([patch[0], 0.2 * patch[1], 0.2 * patch[2]])
    for frame, left in zip(frames, at, strict=True):
        if left is not None:
            frame[:, row : row + size, left : left + size] = patch
    return frames


def sliding(step: int = 3, start: int = 5, frames: int = FRAMES) -> Tensor:
    """The square rests until frame `start`, then slides by `step` pixels a frame."""
    return square([10 + step * max(0, t - start) for t in range(frames)])


def pulses(at: list[int], frames: int = FRAMES) -> Tensor:
    """Sound `[1, N]` that is loud during some frames and all but silent else."""
    count = round(RATE / FPS)
    level = torch.full((frames,), 0.01)
    level[at] = 0.5
    tone = torch.from_numpy(np.sin(np.arange(frames * count) * 0.3)).float()
    return (level.repeat_interleave(count) * tone)[None]


def pair(edit: Tensor, source: Tensor | None = None, **more: object) -> Edited:
    """Frames beside their source, a still ground by default."""
    source = still(len(edit)) if source is None else source
    return Edited(Clip(source, FPS), Clip(edit, FPS), **more)  # type: ignore[arg-type]
