"""When frames are shown: the rate of a file, the time of each frame, an even grid of them."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from sparks.media.ffmpeg import Notes, fraction

_WHOLE = [Fraction(n) for n in (5, 8, 10, 12, 15, 16, 18, 20, 24, 25, 30, 48, 50, 60, 120, 240)]
_NTSC = [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)]
_TICK = Fraction(2, 1000)  # seconds that rounding to milliseconds makes gaps differ by, and a bit
_PAUSE = 4  # times the usual gap between frames: no rate


class Shown(NamedTuple):
    """A frame, when it begins to be shown, and for how long (0 where the file is silent)."""

    time: Fraction
    seconds: Fraction
    frame: Any


def frame_rate(
    nominal: Fraction | None, average: Fraction | None, times: Sequence[Fraction]
) -> Fraction:
    """What a header claims if its timestamps bear it out, else what they say.

    Args:
        nominal: the lowest rate that all timestamps fit, as the header or FFmpeg has it.
        average: frames per second of the whole file, likewise.
        times: of some frames, in seconds and order.
    """
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if not gaps:
        strays = nominal and average and abs(nominal - average) > average / 10
        return _bounded((average if strays else nominal or average) or Fraction(25))
    usual = Fraction(median(gaps))
    steady = _mean([gap for gap in gaps if gap <= _PAUSE * usual])
    even = all(abs(gap - usual) <= _TICK for gap in gaps if gap <= _PAUSE * usual)
    slack = max(_TICK / len(gaps), steady / 200) if even else steady / 10
    for claimed, gap in ((nominal, steady if even else usual), (average, steady)):
        if claimed and abs(1 / claimed - gap) <= slack:
            return _bounded(claimed)
    # Some frames may be lost and some late.
    rate = 1 / _mean([gap for gap in gaps if abs(gap - usual) <= usual / 2])
    nearest = min(_WHOLE + _NTSC if even else _WHOLE, key=lambda one: abs(one - rate))
    return nearest if abs(nearest - rate) <= rate / (500 if even else 50) else _bounded(rate)


def _mean(gaps: Sequence[Fraction]) -> Fraction:
    return sum(gaps, Fraction(0)) / len(gaps)


def _bounded(rate: Fraction) -> Fraction:
    # Of a rate that only an odd file has, a near and simple one is as good.
    return max(rate.limit_denominator(1001), Fraction(1, 1001))


def timed(frames: Iterable[Any], period: Fraction) -> Iterator[Shown]:
    """Frames with their times in seconds, guessed where the file is silent about them."""
    time = -period
    for frame in frames:
        base = fraction(frame.time_base)
        time = time + period if frame.pts is None else Fraction(frame.pts * base)
        yield Shown(time, (frame.duration or 0) * base, frame)


def restamped(frames: Iterable[Any]) -> Iterator[Any]:
    """Frames of an AVI file, which stores the order of decoding only."""
    origin = None
    for frame in frames:
        origin = frame.dts if origin is None else origin
        frame.pts = None if frame.dts is None else frame.dts - origin
        yield frame


def whole(frames: Iterable[Any], notes: Notes) -> Iterator[Any]:
    """Frames that the decoder does not know to be damaged."""
    for frame in frames:
        if frame is None:
            continue
        if frame.is_corrupt:
            notes.add("{} damaged frame(s) left out")
        else:
            yield frame


def on_grid(first: Shown, rest: Iterable[Shown], fps: Fraction, period: Fraction) -> Iterator[Any]:
    """What is shown at each `i / fps` after the first frame, or comes within half a step.

    Args:
        first: frame.
        rest: frames after it.
        fps: rate of the grid.
        period: of the file itself, for which the last frame is shown where it says too little.
    """
    start, now, index, last = first.time, first.time, 0, first
    for following in rest:
        # Between dense frames the nearest is taken; through a long pause the last one stays.
        half = min(max(following.time - now, Fraction(0)), 1 / fps) / 2
        while start + index / fps <= following.time - half:
            yield last.frame
            index += 1
        now, last = max(now, following.time), following
    shown = last.seconds if last.seconds > period / 2 else max(period, 1 / fps)
    # Timestamps in whole milliseconds make a clip seem longer or shorter by a little.
    for _ in range(index, max(1, int((now + shown - start) * fps + Fraction(1, 4)))):
        yield last.frame
