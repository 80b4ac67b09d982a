"""What the edit left as it was: kept frames, place, and colours."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sparks.evaluation.metrics.masks import subject
from sparks.search.metrics import Edited, Figure, Measurement


class Prefix:
    """How exactly the kept frames were kept, and whether the edit jumps where they end.

    `seam_jump` is the mean change at the seam less that of the two pairs of frames on either side.
    """

    group = "preservation"
    figures = {
        "prefix_error": Figure("change of kept frames", ".4f", "lower"),
        "seam_jump": Figure("jump at the seam", ".4f", "lower"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """None where no frame was to be kept, or all were."""
        kept, frames = edited.kept, edited.edit.frames
        if not 0 < kept < len(frames):
            return Measurement(dict.fromkeys(self.figures))
        error = float((frames[:kept] - edited.source.frames[:kept]).abs().mean())
        return Measurement({"prefix_error": error, "seam_jump": _jump(frames, kept)})


def _jump(frames: Tensor, kept: int) -> float:
    change = (frames[1:] - frames[:-1]).abs().mean((1, 2, 3))
    seam = kept - 1
    around = [*change[max(0, seam - 2) : seam].tolist(), *change[seam + 1 : seam + 3].tolist()]
    return float(change[seam]) - (float(np.mean(around)) if around else 0.0)


class Locality:
    """Change from the source inside the moving subject's mask and outside of it.

    `locality` is the share of the inside in the sum of both means: 1 where only the subject has
    changed, 0.5 where all has changed alike.
    """

    group = "preservation"
    figures = {
        "change_inside": Figure("change inside the subject", ".4f"),
        "change_outside": Figure("change outside the subject", ".4f", "lower"),
        "locality": Figure("locality (0 to 1)", better="higher"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """None where there is no inside or no outside, or nothing has changed."""
        mask, how = subject(edited)
        change = (edited.edit.frames - edited.source.frames).abs().mean(1)
        inside = float(change[mask].mean()) if mask.any() else None
        outside = float(change[~mask].mean()) if (~mask).any() else None
        total = None if inside is None or outside is None else inside + outside
        share = inside / total if inside is not None and total else None
        values = (inside, outside, share)
        return Measurement(dict(zip(self.figures, values, strict=True)), {"mask": how})


class Colour:
    """How far the colours have drifted, wherever in the picture they are.

    The mean over frames and channels of the earth mover's distance between the values of the
    edit's pixels and those of the source's: 0.1 for a picture that is brighter by 0.1, 0 for one
    in which things have only moved.
    """

    group = "preservation"
    figures = {"colour_drift": Figure("colour drift", ".4f", "lower")}

    def measure(self, edited: Edited) -> Measurement:
        """Frame by frame, and their mean."""
        pairs = zip(edited.edit.frames, edited.source.frames, strict=True)
        drift = [_earth_movers(edit.flatten(1), source.flatten(1)) for edit, source in pairs]
        return Measurement({"colour_drift": float(np.mean(drift))}, curves={"colour_drift": drift})


def _earth_movers(first: Tensor, second: Tensor) -> float:
    return float((first.sort(1).values - second.sort(1).values).abs().mean())
