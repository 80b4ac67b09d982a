"""Media files of every kind, whose frames and sound tell their own time.

A frame grows brighter with the time it is shown at, and its left upper quarter is `MARK` brighter
than the rest; the sound is silent but for a click of 20 ms that starts at `CLICK` seconds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLICK, MARK = 0.5, 40


def even(count: int, fps: Fraction | int = 25, start: Fraction | int = 0) -> list[Fraction]:
    """Times of `count` frames at a constant rate."""
    return [Fraction(start) + Fraction(index) / fps for index in range(count)]


@dataclass(frozen=True)
class Sound:
    """A track from `start` to `end` seconds of the film, with `gap` left out of the stream."""

    codec: str = "aac"
    rate: int = 48000
    layout: str = "stereo"
    start: float = 0.0
    end: float = 1.0
    gap: tuple[float, float] | None = None

    def frames(self) -> Iterator[av.AudioFrame]:
        """20 ms at a time."""
        step = self.rate // 50
        for first in range(round(self.start * self.rate), round(self.end * self.rate), step):
            if self.gap and self.gap[0] <= first / self.rate < self.gap[1]:
                continue
            yield self._frame(first, step)

    def _frame(self, first: int, count: int) -> av.AudioFrame:
        time = (first + np.arange(count)) / self.rate
        wave = 0.8 * np.sin(2 * np.pi * 1000 * time) * (time >= CLICK) * (time < CLICK + 0.02)
        channels = av.AudioLayout(self.layout).nb_channels
        samples = np.tile(wave.astype(np.float32), (channels, 1))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, first, Fraction(1, self.rate)
        return frame


@dataclass(frozen=True)
class Film:
    """How to make one file; `times` are those of its frames, `rate` what its header says."""

    suffix: str = "mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    size: tuple[int, int] = (64, 48)
    times: list[Fraction] = field(default_factory=lambda: even(25))
    rate: Fraction = Fraction(25)
    sounds: tuple[Sound, ...] = (Sound(),)
    rotation: int = 0
    aspect: Fraction | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    header: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False  # timestamps finer than the rate
    span: float = 1.0

    def grey(self, time: Fraction | float) -> float:
        """Level (0 to 255) of the picture at a time, of which `span` seconds can be told apart."""
        return 30 + 170 * float(time - self.times[0]) / self.span

    def picture(self, time: Fraction) -> np.ndarray:
        """`[H, W, 3]` bytes of the frame at a time."""
        width, height = self.size
        pixels = np.full((height, width, 3), round(self.grey(time)), np.uint8)
        pixels[: height // 2, : width // 2] += MARK
        return pixels

    def write(self, folder: Path) -> Path:
        """Encode into `folder`; an FFmpeg error or ValueError where this PyAV cannot."""
        path = folder / f"film.{self.suffix}"
        with av.open(str(path), "w", options=dict(self.header)) as out:
            video = out.add_stream(self.codec, rate=self.rate, options=dict(self.options))
            (video.width, video.height), video.pix_fmt = self.size, self.pixels
            video.bit_rate = 2_000_000 if self.codec == "mpeg4" else 0
            base = Fraction(1, 90000) if self.exact else 1 / self.rate
            video.codec_context.time_base = base
            if self.aspect:
                video.codec_context.sample_aspect_ratio = self.aspect
            if self.rotation:
                video.set_display_rotation(self.rotation)
            tracks = [
                (out.add_stream(sound.codec, rate=sound.rate, layout=sound.layout), sound)
                for sound in self.sounds
            ]
            for time in self.times:
                frame = av.VideoFrame.from_ndarray(self.picture(time), format="rgb24")
                frame.pts, frame.time_base = round(time / base), base
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            for stream, sound in tracks:
                for part in sound.frames():
                    out.mux(stream.encode(part))
                out.mux(stream.encode(None))
        return path
