"""Maps laid over frames, as pictures and as a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sparks.media.clip import Clip

SHOWN = 192  # pixels: smaller frames are enlarged, so that maps are smooth
DEEPEST, HIGHEST = 0.05, 0.995  # quantiles of a map between which its colours run
_STRIP = 22  # pixels of a caption


def scale(maps: Sequence[Tensor]) -> tuple[float, float]:
    """The values that the first and the last colour stand for, in all of these maps."""
    values = torch.cat([each.flatten() for each in maps]).float()
    low, high = (float(values.quantile(level)) for level in (DEEPEST, HIGHEST))
    return low, max(high, low + 1e-12)


def enlarged(frames: Tensor) -> Tensor:
    """`[T, 3, H, W]` so often its size that it can be looked at."""
    times = -(-SHOWN // frames.shape[-2])
    return frames.repeat_interleave(times, -2).repeat_interleave(times, -1)


def laid_over(frames: Tensor, heat: Tensor, between: tuple[float, float]) -> Tensor:
    """Frames `[T, 3, H, W]` in grey with a map `[T, H, W]` over them, in [0, 1]."""
    from matplotlib import colormaps

    low, high = between
    level = ((heat - low) / (high - low)).clamp(0, 1)
    colours = torch.from_numpy(colormaps["inferno"](level.numpy())[..., :3]).float()
    grey = frames.cpu().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    weight = 0.35 + 0.4 * level[:, None]
    return (1 - weight) * 0.75 * grey + weight * colours.permute(0, 3, 1, 2)


def captioned(frames: Tensor, text: str) -> Tensor:
    """Frames `[T, 3, H, W]` under a line of text."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (frames.shape[-1], _STRIP), "black")
    ImageDraw.Draw(strip).text((5, 4), text, fill="white", font=ImageFont.load_default(12))
    line = torch.from_numpy(np.array(strip)).permute(2, 0, 1).float() / 255
    return torch.cat([line.expand(len(frames), -1, -1, -1), frames], -2)


def wall(rows: Sequence[Mapping[str, Tensor]], like: Clip) -> Clip:
    """Clips of equal size in rows, each under its name, with the sound of `like`."""
    lines = [torch.cat([captioned(f, name) for name, f in row.items()], -1) for row in rows]
    width = max(line.shape[-1] for line in lines)
    padded = [torch.nn.functional.pad(line, (0, width - line.shape[-1])) for line in lines]
    return replace(like, frames=torch.cat(padded, -2))
