"""Where the subject is: by a mask of the user's, by SAM 2, or by what moves and GrabCut."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sparks.errors import SparksError
from sparks.evaluation.metrics.flow import Motion, cv2, motion_of, shared
from sparks.media.clip import read_clip
from sparks.search.metrics import Edited

Mask = NDArray[np.bool_]

SEED = 0.5  # of the fastest speed: pixels that surely belong to what moves
SLOWEST = 0.05  # sides per second: nothing slower is taken for a subject
AROUND = 0.04  # of the shorter side: how far around a seed the subject may reach
ITERATIONS = 2  # of GrabCut


def subject(edited: Edited) -> tuple[Tensor, str]:
    """Pixels that belong to the subject in the source or in the edit, `[T, H, W]` bool.

    With the name of how they were found: `edited.using["mask"]` a video that is white there;
    `edited.using["sam2"]` a model; else what moves, its outline by GrabCut.

    Raises:
        SparksError: a mask video of another length, or what `sparks.evaluation.metrics.sam2` says.
    """
    return shared(edited, "subject", lambda: _subject(edited))


def _subject(edited: Edited) -> tuple[Tensor, str]:
    if path := edited.using.get("mask"):
        return read_mask(path, edited.edit.frames), f"mask video {path}"
    moving = [moving_parts(motion_of(edited, which)) for which in ("source", "edit")]
    if model := edited.using.get("sam2"):
        from sparks.evaluation.metrics.sam2 import Sam2

        clips, network = (edited.source, edited.edit), Sam2(model)
        found = [network.follow(c.frames, m) for c, m in zip(clips, moving, strict=True)]
        return found[0] | found[1], f"SAM 2 {model}"
    either = torch.from_numpy(moving[0] | moving[1])
    return _to_size(either, edited.edit.frames), "flow and GrabCut"


def read_mask(path: str, frames: Tensor) -> Tensor:
    """The white part of a video, `[T, H, W]`, at the size of `frames [T, 3, H, W]`.

    Raises:
        SparksError: it has fewer frames.
    """
    clip = read_clip(path, max_frames=len(frames))
    if len(clip.frames) != len(frames):
        raise SparksError(
            f"the mask {path} has {len(clip.frames)} frames, the edit {len(frames)}; "
            "give one for each frame"
        )
    return _to_size(clip.frames.mean(1) > 0.5, frames)


def moving_parts(motion: Motion) -> Mask:
    """`[T, H, W]` at the size of the flow: what moves otherwise than the camera, cut out."""
    speed = motion.speed
    fastest = np.quantile(speed, 0.999)
    if fastest < SLOWEST:
        return np.zeros(motion.pictures.shape[:3], dtype=bool)
    moving = speed > max(SEED * float(fastest), SLOWEST)
    seeds = np.concatenate([moving, moving[-1:]])  # of a frame and the next one
    seeds[1:] |= moving
    seeds = np.stack([seeds[max(0, t - 1) : t + 2].any(0) for t in range(len(seeds))])
    return np.stack([_cut_out(p, s) for p, s in zip(motion.pictures, seeds, strict=True)])


def _cut_out(picture: NDArray[np.float32], seeds: Mask) -> Mask:
    """GrabCut of one frame, whose `seeds` surely move; all around them may belong to it."""
    opencv = cv2()
    radius = max(1, round(AROUND * min(seeds.shape)))
    around = opencv.dilate(
        seeds.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    ).astype(bool)
    if not seeds.any() or around.all():
        return around
    labels = np.where(seeds, opencv.GC_PR_FGD, opencv.GC_BGD).astype(np.uint8)
    labels[around & ~seeds] = opencv.GC_PR_BGD
    opencv.setRNGSeed(0)  # of its k-means
    pixels = np.ascontiguousarray((255 * picture).round().astype(np.uint8)[..., ::-1])
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        opencv.grabCut(pixels, labels, None, *models, ITERATIONS, opencv.GC_INIT_WITH_MASK)
    except opencv.error:  # too few colours to tell two sides apart
        return around
    found = (labels == opencv.GC_FGD) | (labels == opencv.GC_PR_FGD)
    return found if found.any() else around


def _to_size(mask: Tensor, frames: Tensor) -> Tensor:
    size = frames.shape[-2:]
    if mask.shape[-2:] == size:
        return mask
    return F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0] > 0.5
