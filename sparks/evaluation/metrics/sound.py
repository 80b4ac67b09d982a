"""Does the picture move when the sound says so?"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from sparks.evaluation.metrics.flow import motion_of
from sparks.media.clip import Clip
from sparks.search.metrics import Edited, Figure, Measurement

WITHIN = 0.5  # seconds of lag that are looked at, either way
SILENT = 1e-4  # root mean square below which a clip has no sound


class SoundLag:
    """The lag at which loudness and motion fit best, and how well they fit there.

    Positive where the motion comes after the sound; the correlation is Pearson's. Both have one
    value for each frame after the first.
    """

    group = "sound"
    figures = {
        "sound_lag": Figure("motion after sound (s)", "+.2f"),
        "sound_correlation": Figure("correlation of sound and motion", ".2f", "higher"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """None for a silent clip, or one whose sound or picture does not vary."""
        loud = loudness(edited.edit)
        energy = motion_of(edited, "edit").energy().astype(np.float64)
        if loud is None or loud.max() < SILENT or not (loud[1:].std() and energy.std()):
            return Measurement(dict.fromkeys(self.figures))
        lag, fit = _best_lag(loud[1:], energy, round(WITHIN * float(edited.edit.fps)))
        found = {"sound_lag": lag / float(edited.edit.fps), "sound_correlation": fit}
        return Measurement(found, curves={"loudness": loud.tolist()})


def loudness(clip: Clip) -> NDArray[np.float64] | None:
    """Root mean square of the sound during each frame, `[T]`; None without sound."""
    if clip.waveform is None:
        return None
    count = len(clip.frames)
    ends = [round(t / clip.fps * clip.sample_rate) for t in range(count + 1)]
    power = clip.waveform.double().square().mean(0)
    parts = [power[first:last] for first, last in itertools.pairwise(ends)]
    return np.array([float(part.mean()) if len(part) else 0.0 for part in parts]) ** 0.5


def _best_lag(
    sound: NDArray[np.float64], motion: NDArray[np.float64], most: int
) -> tuple[int, float]:
    """Frames that `motion` comes after `sound`, and the correlation there."""
    lags = range(-min(most, len(sound) // 2), min(most, len(sound) // 2) + 1)
    fits = {lag: _correlation(*_overlap(sound, motion, lag)) for lag in lags}
    lag = max(fits, key=lambda lag: (fits[lag], -abs(lag)))
    return lag, fits[lag]


def _overlap(
    sound: NDArray[np.float64], motion: NDArray[np.float64], lag: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if lag < 0:
        return sound[-lag:], motion[:lag]
    return sound[: len(sound) - lag], motion[lag:]


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if not (first.std() and second.std()):
        return -1.0
    return float(np.corrcoef(first, second)[0, 1])
