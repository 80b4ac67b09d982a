"""Media files of every kind, whose frames and sound tell their own time, colours and way up.

Three quarters of a frame are red, green and blue, so that every way of turning or mirroring it
shows another arrangement; the fourth, at the right below, grows brighter with the time it is shown
at. The sound is silent but for a click of 20 ms that starts at `CLICK` seconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from torch import Tensor

from sparks.media.clip import Clip

CLICK = 0.5
RED, GREEN, BLUE = (200, 40, 40), (40, 170, 50), (50, 60, 210)
PLACES = {(-1, -1): RED, (1, -1): GREEN, (-1, 1): BLUE}  # x, y; the fourth is grey
UPRIGHT = (1, 0, 0, 1)
FULL = {"color_range": 2}
# What FFmpeg's numbers for a matrix mean to libswscale.
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}


def even(count: int, fps: Fraction | int = 25, start: Fraction | int = 0) -> list[Fraction]:
    """Times of `count` frames at a constant rate."""
    return [Fraction(start) + Fraction(index) / fps for index in range(count)]


def tagged(matrix: int, **others: int) -> dict[str, int]:
    """Tags of colour in FFmpeg's numbers: `color_range`, `color_primaries`, `color_trc`."""
    return {"colorspace": matrix, **others}


@dataclass(frozen=True)
class Sound:
    """A track from `start` to `end` seconds of the film, with `gap` left out of the stream."""

    codec: str = "aac"
    rate: int = 48000
    layout: str = "stereo"
    start: float = 0.0
    end: float = 1.0
    gap: tuple[float, float] | None = None
    click: float | None = CLICK
    disposition: int = 0
    channel: int | None = None  # the only one that clicks

    def frames(self) -> Iterator[av.AudioFrame]:
        """20 ms at a time."""
        step = self.rate // 50
        for first in range(round(self.start * self.rate), round(self.end * self.rate), step):
            if self.gap and self.gap[0] <= first / self.rate < self.gap[1]:
                continue
            yield self._frame(first, step)

    def _frame(self, first: int, count: int) -> av.AudioFrame:
        time = (first + np.arange(count)) / self.rate
        loud = 0 if self.click is None else (time >= self.click) * (time < self.click + 0.02)
        wave = (0.8 * np.sin(2 * np.pi * 1000 * time) * loud).astype(np.float32)
        channels = av.AudioLayout(self.layout).nb_channels
        # Packed, as PyAV reads past the eighth plane of planar sound.
        samples = np.repeat(wave, channels).reshape(-1, channels)
        if self.channel is not None:
            samples[:, np.arange(channels) != self.channel] = 0
        samples = samples.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, first, Fraction(1, self.rate)
        return frame


@dataclass(frozen=True)
class Film:
    """How to make one file.

    Attributes:
        times: of its frames, in seconds; `rate` is what its header says.
        turn: linear part (a, b, c, d) of its display matrix, which sends a stored point (x, y) to
            (a x + c y, b x + d y); other than by `rotation` for mp4 and mov alone.
        tags: of colour; without them its matrix is the one that players guess.
        exact: timestamps are finer than the rate.
    """

    suffix: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    times: list[Fraction] = field(default_factory=lambda: even(25))
    rate: Fraction = Fraction(25)
    sounds: tuple[Sound, ...] = (Sound(),)
    turn: tuple[int, int, int, int] = UPRIGHT
    rotation: int = 0
    aspect: Fraction | None = None
    tags: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    span: float = 1.0
    disposition: int = 0

    def grey(self, time: Fraction | float) -> float:
        """Level (0 to 255) of the picture at a time, of which `span` seconds can be told apart."""
        return 30 + 170 * float(time - self.times[0]) / self.span

    def picture(self, time: Fraction) -> np.ndarray:
        """`[H, W, 3]` bytes of the frame at a time."""
        width, height = self.size
        pixels = np.full((height, width, 3), round(self.grey(time)), np.uint8)
        for (x, y), colour in PLACES.items():
            rows = slice(0, height // 2) if y < 0 else slice(height // 2, height)
            columns = slice(0, width // 2) if x < 0 else slice(width // 2, width)
            pixels[rows, columns] = colour
        return pixels

    def frame(self, time: Fraction) -> av.VideoFrame:
        """The same, stored as the film stores it."""
        width, height = self.size
        guess = 1 if width >= 1280 or height > 576 else 5
        return av.VideoFrame.from_ndarray(self.picture(time), format="rgb24").reformat(
            format=self.pixels,
            dst_colorspace=MATRICES.get(self.tags.get("colorspace", 2), guess),
            dst_color_range=self.tags.get("color_range", ColorRange.UNSPECIFIED),
        )

    def write(self, folder: Path) -> Path:
        """Encode into `folder`; skips the test where this PyAV cannot."""
        path = together(folder / f"film.{self.suffix}", self)
        if self.turn != UPRIGHT:
            turn(path, self.turn)
        return path

    def streams(self, out: Any) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Streams added to a container, and what is to be encoded into each."""
        base = Fraction(1, 90000) if self.exact else 1 / self.rate
        yield self._video(out, base), self._frames(base)
        for sound in self.sounds:
            stream = out.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
            stream.disposition = sound.disposition
            yield stream, sound.frames()

    def _frames(self, base: Fraction) -> Iterator[av.VideoFrame]:
        for time in self.times:
            frame = self.frame(time)
            frame.pts, frame.time_base = round(time / base), base
            yield frame

    def _video(self, out: Any, base: Fraction) -> Any:
        video = out.add_stream(self.codec, rate=self.rate, options=dict(self.options))
        (video.width, video.height), video.pix_fmt = self.size, self.pixels
        video.bit_rate = 2_000_000 if self.codec == "mpeg4" else 0
        video.codec_context.time_base = base
        for name, value in self.tags.items():
            setattr(video.codec_context, name, value)
        if self.aspect:
            video.codec_context.sample_aspect_ratio = self.aspect
        if self.rotation:
            video.set_display_rotation(self.rotation)
        video.disposition = self.disposition
        return video

    def way(self) -> tuple[int, int, int, int]:
        """The linear part of its display matrix."""
        return TURNS[self.rotation] if self.rotation else self.turn

    def stored_at(self, x: int, y: int) -> tuple[int, int]:
        """Which quarter of the stored picture is shown in the one at x, y of -1 or 1."""
        a, b, c, d = self.way()
        return next(
            (i, j) for i in (-1, 1) for j in (-1, 1) if (a * i + c * j, b * i + d * j) == (x, y)
        )


def together(path: Path, *films: Film) -> Path:
    """Write films as streams beside each other; skips the test where this PyAV cannot."""
    try:
        with av.open(str(path), "w", options=dict(films[0].header)) as out:
            # Every stream must be declared before the first packet fixes the header.
            for stream, frames in [each for film in films for each in film.streams(out)]:
                for frame in frames:
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this PyAV cannot encode {films[0].codec} {films[0].pixels}: {error}")
    return path


# Display matrices of rotations against the clock.
TURNS = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -90: (0, 1, -1, 0), 0: UPRIGHT}


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write the linear part of a display matrix into the first track of an mp4 or mov."""
    whole = bytearray(path.read_bytes())
    a, b, c, d = matrix
    start = whole.index(b"tkhd") + 44
    for place, value in zip((0, 1, 3, 4), (a, b, c, d), strict=True):
        whole[start + 4 * place : start + 4 * place + 4] = (value << 16).to_bytes(
            4, "big", signed=True
        )
    path.write_bytes(whole)


def check_picture(film: Film, clip: Clip, tolerance: float = 12) -> None:
    """Every frame is upright, in its colours, and the one a viewer sees at its time.

    By half a step it may be the next one.
    """
    height, width = clip.frames.shape[-2:]
    stored = (int(film.size[0] * (film.aspect or 1)), film.size[1])
    assert (width, height) == (stored if film.way()[0] else stored[::-1])
    for x, y in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        quarter = 255 * middle(clip.frames, x, y)
        colour = PLACES.get(film.stored_at(x, y))
        if colour is None:
            check_times(film, clip, quarter.mean(1).tolist())
        else:
            stray = (quarter - quarter.new_tensor(colour)).abs().max()
            assert stray < tolerance, (x, y, colour, quarter[0].tolist())


def middle(frames: Tensor, x: int, y: int) -> Tensor:
    """`[T, 3]`, the mean colours in the middle of the quarter at x, y of -1 or 1."""
    height, width = frames.shape[-2:]
    rows = slice(height // 8, height * 3 // 8) if y < 0 else slice(height * 5 // 8, height * 7 // 8)
    columns = slice(width // 8, width * 3 // 8) if x < 0 else slice(width * 5 // 8, width * 7 // 8)
    return frames[:, :, rows, columns].mean((2, 3))


def check_times(film: Film, clip: Clip, levels: list[float]) -> None:
    """Greys are those of frames that may be shown at their times."""
    for index, level in enumerate(levels):
        greys = [film.grey(time) for time in shown(film.times, index / clip.fps, 1 / clip.fps)]
        assert min(abs(level - grey) for grey in greys) < 4, (index, level, greys)


def shown(times: list[Fraction], now: Fraction, period: Fraction) -> list[Fraction]:
    """Which frames may stand at `now` after the first; files round to milliseconds."""
    rounding, now = Fraction(3, 1000), times[0] + now
    leads = [min(period, b - a) / 2 for a, b in pairwise(times)]
    begins = [time - lead for time, lead in zip(times, [Fraction(0), *leads], strict=True)]
    ends = [*begins[1:], now]
    return [
        time
        for time, begin, end in zip(times, begins, ends, strict=True)
        if begin - rounding <= now <= end + rounding
    ]


def check_sound(film: Film, clip: Clip) -> None:
    """The first track is there, as long as the picture, and clicks on time."""
    if not film.sounds:
        assert clip.waveform is None
        return
    assert clip.waveform is not None
    first = film.sounds[0]
    assert clip.sample_rate == first.rate
    assert clip.waveform.shape == (
        1 if first.layout == "mono" else 2,
        round(clip.duration * clip.sample_rate),
    )
    if clip.duration > CLICK and first.start == 0:
        assert clicks(clip) == pytest.approx((CLICK, CLICK + 0.02), abs=0.01)


def clicks(clip: Clip) -> tuple[float, float]:
    """Seconds at which a clip is loud first and last."""
    assert clip.waveform is not None
    loud = (clip.waveform.abs().amax(0) > 0.25).nonzero().flatten() / clip.sample_rate
    return float(loud.min()), float(loud.max())
