"""How much the edit moves, what of it is the camera, and when."""

from __future__ import annotations

import numpy as np

from sparks.evaluation.metrics.flow import Array, motion_of
from sparks.search.metrics import Edited, Figure, Measurement

FASTEST = 0.05  # share of the picture whose speed is the dynamic degree
MOVES = 6 / 256 * 8  # sides per second, as VBench has it: 6 pixels of 256 at 8 frames per second
STILL = 0.01  # sides per second: below it, nothing moves
UNCHANGED = 0.001  # mean change of a frame below which nothing has happened
ONSET = 0.25  # of the peak


class Movement:
    """Speeds of dense flow, the median flow of each frame (the camera's) taken out.

    The paper speaks of flatness and drift without a formula. Here `motion_flatness` is the mean
    speed over the root of the mean squared speed: 1 where everything moves alike, near 0 where the
    motion is that of a small part; `global_drift` is the mean speed of the camera.
    """

    group = "motion"
    figures = {
        "dynamic_degree": Figure("dynamic degree (fastest 5 %, sides/s)"),
        "moves": Figure("moves (VBench)", ".2f"),
        "motion_flatness": Figure("motion flatness (0 to 1)"),
        "global_drift": Figure("global drift (sides/s)", better="lower"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """Of the edit alone."""
        motion = motion_of(edited, "edit")
        fastest = _fastest(motion.speed)
        enough = round(len(fastest) / 4)
        return Measurement(
            {
                "dynamic_degree": float(fastest.mean()),
                "moves": float((fastest > MOVES).sum() >= max(1, enough)),
                "motion_flatness": _flatness(motion.speed),
                "global_drift": float(motion.drift.mean()),
            },
            curves={"speed": fastest.tolist(), "drift": motion.drift.tolist()},
        )


class Timing:
    """When the edit first changes, and when it changes most, the camera's translation taken out."""

    group = "motion"
    figures = {
        "motion_onset": Figure("onset of motion (s)", ".2f"),
        "motion_peak": Figure("peak of motion (s)", ".2f"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """None where nothing happens."""
        energy = motion_of(edited, "edit").energy()
        curves = {"energy": energy.tolist()}
        above = energy - np.quantile(energy, 0.25)
        if above.max() < UNCHANGED:
            return Measurement(dict.fromkeys(self.figures), curves=curves)
        seen = [int(np.argmax(above >= ONSET * above.max())), int(above.argmax())]
        times = [(index + 1) / float(edited.edit.fps) for index in seen]  # of the changed frame
        return Measurement(dict(zip(self.figures, times, strict=True)), curves=curves)


def _fastest(speed: Array) -> Array:
    """`[T-1]`: mean of the FASTEST share of each frame."""
    flat = np.sort(speed.reshape(len(speed), -1), axis=1)
    return np.asarray(flat[:, -max(1, round(FASTEST * flat.shape[1])) :].mean(1))


def _flatness(speed: Array) -> float | None:
    root = np.sqrt(np.square(speed).mean((1, 2)))
    moving = root > STILL
    if not moving.any():
        return None
    return float((speed.mean((1, 2))[moving] / root[moving]).mean())
