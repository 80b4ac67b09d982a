"""Whether a map of attention lies where the world's measurement sees something.

object   where the object is, in each latent frame
path     where it is at any time
motion   what changes on its path from frame to frame
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.pocket import measure

TRUTHS = ("object", "path", "motion", "motion on the path")
STILL = 0.004  # mean change of a pixel in the liveliest place, under which nothing moves
PART = 0.5  # of its highest value, from which on a place counts as part of a truth


def truths(
    frames: Tensor, colour: int, latent_shape: tuple[int, int, int], compression: int
) -> dict[str, Tensor]:
    """`[F, H, W]` of object, path and motion, measured on a video.

    Args:
        frames: `[T, 3, h, w]`.
        colour: of the object, an index.
        latent_shape: F, H, W.
        compression: frames of each latent frame but the first.
    """
    cover = measure.coverage(frames[None], torch.tensor([colour]))[0]
    ever = cover.amax(0)
    change = F.pad((frames[1:] - frames[:-1]).abs().mean(1), (0, 0, 0, 0, 1, 0)) * ever
    still = ever.expand(len(frames), -1, -1)
    shape = (latent_shape[1], latent_shape[2])
    return {
        name: _to_latents(each, shape, compression)
        for name, each in zip(TRUTHS[:3], (cover, still, change), strict=True)
    }


def _to_latents(values: Tensor, size: tuple[int, int], compression: int) -> Tensor:
    """Means of `[T, h, w]` over what each latent place stands for."""
    places = F.adaptive_avg_pool2d(values, size)
    first, rest = places[:1], places[1:]
    return torch.cat([first, rest.unflatten(0, (-1, compression)).mean(1)])


def asked(truth: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """One of TRUTHS `[F, H, W]`, and where it is asked, bool; `truth` is what `truths` gives."""
    if name != TRUTHS[-1]:
        return truth[name], torch.ones_like(truth[name], dtype=torch.bool)
    return truth["motion"], truth["path"] >= PART * truth["path"].max()


def compare(heat: Tensor, truth: Mapping[str, Tensor], name: str) -> dict[str, float] | None:
    """`agreement` of a map `[F, H, W]` with one of TRUTHS."""
    there, where = asked(truth, name)
    return agreement(heat[where], there[where])


def correlations(heat: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Of a map `[P]` with truths `[n, P]`, where each is asked `[n, P]`; those of nothing are out.

    What `agreement` gives for one, for many at once.
    """
    counted = where.double()
    there = truth.double()
    some = ((there * counted).amax(1) >= STILL) & (counted.sum(1) > 1)
    counted, there = counted[some], there[some]
    share = counted / counted.sum(1, keepdim=True)

    def centred(values: Tensor) -> Tensor:
        return (values - (values * share).sum(1, keepdim=True)) * counted

    ours, theirs = centred(heat.double().expand_as(there)), centred(there)
    both = ours.norm(dim=1) * theirs.norm(dim=1)
    return ((ours * theirs).sum(1) / both)[both > 0]


def agreement(heat: Tensor, truth: Tensor) -> dict[str, float] | None:
    """How well a map lies on a truth of the same shape; None where there is nothing to lie on.

    Returns:
        `correlation` of all places; `overlap`, the intersection over union of the truth's places
        and of as many of the map's brightest; and that of as many drawn blindly, `chance`.
    """
    heat, truth = heat.flatten().double(), truth.flatten().double()
    if float(truth.max()) < STILL or float(truth.std()) == 0:
        return None
    part = truth >= PART * truth.max()
    count, places = int(part.sum()), len(truth)
    brightest = torch.zeros_like(part)
    brightest[heat.topk(count).indices] = True
    both = int((part & brightest).sum())
    share = count / places
    return {
        "correlation": float(torch.corrcoef(torch.stack([heat, truth]))[0, 1]),
        "overlap": both / (2 * count - both),
        "chance": share / (2 - share),
    }
