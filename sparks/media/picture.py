"""The moving picture of a file: upright, in square pixels and a screen's colours, evenly timed."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.media.colour import on_screen, rgb
from sparks.media.ffmpeg import MOST_PIXELS, Notes, fraction, opened
from sparks.media.interlace import deinterlaced
from sparks.media.orientation import upright
from sparks.media.packets import decoded, jumps
from sparks.media.streams import Track, tracks
from sparks.media.timing import Shown, frame_rate, on_grid, restamped, timed, whole

MOST_VALUES = 2**30  # float32 numbers in a clip's frames: 4 GiB

Picture = tuple[Tensor, Fraction, Fraction]


def read_frames(
    path: str | Path,
    fps: Fraction | None,
    max_frames: int | None,
    shape: Callable[[Tensor], Tensor],
) -> Picture:
    """Decode the picture upright, square-pixelled, and at one rate throughout.

    Args:
        path: of a file with a picture.
        fps: rate of the result; the file's own by default.
        max_frames: most frames to give; no more is decoded than they need.
        shape: applied to each frame `[1, 3, H, W]` in [0, 1] before it is kept.

    Returns:
        frames `[T, 3, H, W]`, their rate, and the file's time of the first one in seconds.

    Raises:
        SparksError: there is no picture, or too much of it.
    """
    notes = Notes(path)
    for track in tracks(path):
        with opened(path) as container:
            reader = _Reader(path, container, track, notes)
            picture = reader.read(fps, max_frames, shape)
        if picture is not None:
            notes.tell()
            return picture
        notes.add(f"its picture in stream {track.index} cannot be decoded; another is read")
    raise SparksError(
        f"cannot decode {path}: it holds no decodable frame; re-encode it, e.g. to mp4"
    )


class _Reader:
    """One stream of pictures in an opened container."""

    def __init__(self, path: str | Path, container: Any, track: Track, notes: Notes) -> None:
        self._path, self._container, self._track, self._notes = path, container, track, notes
        self._stream = container.streams[track.index]

    def read(
        self, fps: Fraction | None, max_frames: int | None, shape: Callable[[Tensor], Tensor]
    ) -> Picture | None:
        """As `read_frames`, or None where nothing can be decoded."""
        if self._stream.codec_context is None:
            return None
        self._bound()
        own = self._own_rate()
        fps = fps or own
        frames = self._frames(1 / own)
        first = next(frames, None)
        if first is None:
            return None
        size = _square_size(first.frame, fraction(self._stream.sample_aspect_ratio))
        count = max_frames or self._promised(fps)
        pictures: list[Tensor] = []
        last: Any = None
        for frame in islice(on_grid(first, frames, fps, 1 / own), max_frames):
            if frame is not last:
                last, image = frame, shape(upright(rgb(frame, size), frame))
                image = on_screen(image, frame, self._notes)
            pictures.append(image[0])
            _check_memory(max(count, len(pictures)), image[0], self._path)
        return _stack(pictures), fps, first.time

    def _bound(self) -> None:
        codec = self._stream.codec_context
        if codec.width * codec.height > MOST_PIXELS:
            raise SparksError(
                f"{self._path} is {codec.width}x{codec.height} pixels, of which {MOST_PIXELS} at "
                "most are read; scale it down first"
            )
        codec.options = {"max_pixels": str(MOST_PIXELS)}  # it may grow on the way

    def _own_rate(self) -> Fraction:
        nominal, average = map(fraction, (self._stream.base_rate, self._stream.average_rate))
        return frame_rate(nominal, average, self._track.times)

    def _frames(self, period: Fraction) -> Iterator[Shown]:
        """Whole frames and their times; no frame before the first that needs no other."""
        begin, notes = self._track.begin, self._notes
        packets = decoded(self._container, self._stream, notes, from_key=begin is not None)
        frames = whole(packets, notes)
        if self._container.format.name == "avi":
            return deinterlaced(timed(restamped(frames), period), notes)
        shown = dropwhile(
            lambda each: begin is not None and each.time < begin, timed(frames, period)
        )
        return deinterlaced(shown, notes)

    def _promised(self, fps: Fraction) -> int:
        """Frames that the header promises, 0 if it does not say."""
        if jumps(self._container):
            return 0
        if self._stream.duration is not None:
            return int(self._stream.duration * fraction(self._stream.time_base) * fps)
        return int(Fraction(self._container.duration or 0, 1_000_000) * fps)


def _square_size(frame: Any, aspect: Fraction) -> tuple[int, int]:
    """Width and height that show pixels of this aspect as squares."""
    return (round(frame.width * aspect) if aspect else frame.width), frame.height


def _check_memory(count: int, frame: Tensor, path: str | Path) -> None:
    if count * frame.numel() > MOST_VALUES:
        height, width = frame.shape[-2:]
        raise SparksError(
            f"{path} holds {count} or more frames of {width}x{height}, more than fit into memory; "
            "set clip.num_frames (e.g. 89), clip.size or both"
        )


def _stack(frames: list[Tensor]) -> Tensor:
    """As torch.stack, but lets go of each frame once it is copied."""
    stacked = torch.empty(len(frames), *frames[0].shape)
    for index in range(len(frames)):
        stacked[index], frames[index] = frames[index], frames[-1]
    return stacked
