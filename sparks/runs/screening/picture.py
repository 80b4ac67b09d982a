"""A picture of what a probe rendered, and what the critic said to each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.files import replacing
from sparks.runs.screening.probe import Look

FRAMES, GAP = 8, 2  # of each render, and pixels between them
TITLES = {
    "start": "prompt alone",
    "noise": "other noise",
    "step": "step along\nthe gradient",
    "draw": "draw",
}
YES, NO = "#3a8f5c", "#b9b9b9"


def draw_looks(path: Path, looks: Sequence[Look], frames: Sequence[Tensor], title: str) -> None:
    """Write a PNG with one row for each render `[T, 3, H, W]`: some of its frames, and P(yes)."""
    from matplotlib.figure import Figure

    strips = [_strip(each) for each in frames]
    height, width = strips[0].shape[:2]
    figure = Figure(figsize=(10, 0.5 + 7.4 * height / width * len(looks)), dpi=120)
    grid = figure.subplots(len(looks), 2, squeeze=False, width_ratios=(7.4, 1.4))
    for (picture, answer), look, strip in zip(grid, looks, strips, strict=True):
        picture.imshow(strip, interpolation="nearest", aspect="auto")
        picture.set_ylabel(TITLES[look.kind], rotation=0, ha="right", va="center", fontsize=9)
        answer.barh([0], [look.p_yes], color=YES if look.p_yes > 0.5 else NO, height=0.5)
        answer.text(1.02, 0, f"{look.p_yes:.2f}", va="center", fontsize=9)
        answer.set(xlim=(0, 1.25), ylim=(-0.8, 0.8))
        answer.axvline(0.5, color="0.8", linewidth=0.8, zorder=0)
        for axes in (picture, answer):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    inches = figure.get_figheight()
    figure.subplots_adjust(0.11, 0.05 / inches, 0.99, 1 - 0.45 / inches, wspace=0.03, hspace=0.06)
    figure.text(0.11, 1 - 0.3 / inches, title, fontsize=11)
    grid[0, 1].set_title("P(yes)", fontsize=9, loc="left", pad=4)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _strip(frames: Tensor) -> Tensor:
    """Evenly spaced frames side by side, `[H, W, 3]`, white between them."""
    chosen = frames[torch.linspace(0, len(frames) - 1, FRAMES).round().long()].cpu().clamp(0, 1)
    if chosen.shape[-2] > 160:
        chosen = F.interpolate(chosen, scale_factor=160 / chosen.shape[-2], mode="area")
    spaced = F.pad(chosen, (0, GAP), value=1.0)
    return torch.cat(list(spaced), dim=-1)[..., :-GAP].permute(1, 2, 0)
