"""What a clip does from frame to frame that no motion explains."""

from __future__ import annotations

import numpy as np

from sparks.evaluation.metrics.flow import Array, motion_of, pictures, shared
from sparks.search.metrics import Edited, Figure, Measurement

CUT = 0.08  # mean change that motion does not explain
CUT_AGAINST = 5.0  # times the change of the neighbouring frames
SUDDEN = 0.12  # change of a pixel that comes suddenly, in its strongest channel
CALM = 0.05  # change of the same pixel just before and after


class Flicker:
    """Mean absolute first and second differences in time, over all pixels.

    Real motion adds to both: compare edits that move alike, or an edit with its source.
    """

    group = "steadiness"
    figures = {
        "flicker": Figure("flicker (mean change per frame)", ".4f", "lower"),
        "acceleration": Figure("acceleration energy", ".4f", "lower"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """Of the edit alone."""
        frames = shared(edited, "pictures of edit", lambda: pictures(edited.edit))
        first = np.diff(frames, axis=0)
        second = np.diff(first, axis=0)
        return Measurement(
            {
                "flicker": float(np.abs(first).mean()),
                "acceleration": float(np.abs(second).mean()) if len(second) else None,
            }
        )


class Warping:
    """Mean change along the flow of what can be seen in both frames (forward-backward check)."""

    group = "steadiness"
    figures = {"warping_error": Figure("warping error", ".4f", "lower")}

    def measure(self, edited: Edited) -> Measurement:
        """Of the edit alone; None where nothing can be followed."""
        motion = motion_of(edited, "edit")
        visible = motion.visible()
        change = np.abs(motion.warped() - motion.pictures[:-1]).mean(-1)
        found = float(change[visible].mean()) if visible.any() else None
        return Measurement({"warping_error": found})


class Cuts:
    """Scene cuts, and the largest part of the picture that changes at once and then stays.

    The second sees what is inserted by magic: change that no motion explains, at pixels that are
    calm before and after.
    """

    group = "steadiness"
    figures = {
        "scene_cuts": Figure("scene cuts", ".1f", "lower"),
        "sudden_change": Figure("sudden change (share of the picture)", ".4f", "lower"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """Of the edit alone."""
        motion = motion_of(edited, "edit")
        unexplained = np.abs(motion.warped() - motion.pictures[:-1])
        mean, pixel = unexplained.mean((1, 2, 3)), unexplained.max(-1)
        plain = np.abs(np.diff(motion.pictures, axis=0)).max(-1)
        share = [
            _sudden(pixel[t], plain[max(0, t - 1) : t], plain[t + 1 :][:1])
            for t in range(len(pixel))
        ]
        cuts = sum(_is_cut(mean, t) for t in range(len(mean)))
        return Measurement(
            {"scene_cuts": float(cuts), "sudden_change": float(max(share))},
            curves={"sudden": share},
        )


def _sudden(change: Array, before: Array, after: Array) -> float:
    calm = np.concatenate([before, after])
    return float(((change > SUDDEN) & (calm < CALM).all(0)).mean())


def _is_cut(change: Array, t: int) -> bool:
    around = np.concatenate([change[max(0, t - 2) : t], change[t + 1 : t + 3]])
    usual = float(np.median(around)) if len(around) else 0.0
    return bool(change[t] > max(CUT, CUT_AGAINST * usual))
