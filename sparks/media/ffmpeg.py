"""What FFmpeg reads of a file: its picture on an even grid in time, and the sound beside it.

FFmpeg is handed an open file, never a path, and may open nothing else: a playlist that is called
a video cannot make it read other files or reach the network.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.errors import SparksError

MOST_VALUES = 2**30  # float32 numbers in a clip's frames: 4 GiB
MOST_PIXELS = 2**25  # of one frame: 7680 x 4320 and a little
# Tags may be in any encoding; from 19 on PyAV has no say in how they are read.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
_JITTER = 0.05  # seconds that sound may stray from its timestamps before they are believed


def check_video(path: str | Path) -> None:
    """Find a path that cannot be a video before anything is loaded.

    Raises:
        SparksError: there is nothing at `path`, or it is no plain file.
    """
    if not os.path.exists(path):
        raise SparksError(f"no video file at {path}; check the path")
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "no plain file"
        raise SparksError(f"video {path} is {what}; give a video file, e.g. an mp4")


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """The container at `path`; whatever FFmpeg says against it becomes one line.

    Raises:
        SparksError: the file is missing, is no video, or is damaged.
    """
    check_video(path)
    try:
        with (
            open(path, "rb") as file,
            av.open(file, options={"protocol_whitelist": "none"}, **_LENIENT) as container,
        ):
            yield container
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SparksError(f"cannot decode {path} ({reason}); re-encode it, e.g. to mp4") from error


def read_frames(
    path: str | Path,
    fps: Fraction | None,
    max_frames: int | None,
    shape: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Fraction, Fraction]:
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
    with opened(path) as container:
        stream = _video_stream(container, path)
        own = _own_rate(stream)
        fps = fps or own
        timed = _timed(container, stream, 1 / own)
        first = next(timed, None)
        if first is None:
            raise SparksError(f"{path} holds no decodable frame; re-encode it, e.g. to mp4")
        size = _square_size(first[1], _fraction(stream.sample_aspect_ratio))
        count = max_frames or _promised(container, stream, fps)
        pictures: list[Tensor] = []
        last: Any = None
        for image in islice(_on_grid(first, timed, fps), max_frames):
            if image is not last:
                last, picture = image, shape(_upright(image, size))
            pictures.append(picture[0])
            _check_memory(max(count, len(pictures)), pictures[0], path)
        return _stack(pictures), fps, first[0]


def read_sound(
    path: str | Path, start: Fraction, seconds: float
) -> tuple[Tensor, int] | tuple[None, int]:
    """Decode the first sound track, mono or mixed to stereo, from `start` on.

    Returns:
        Waveform `[C, N]` in [-1, 1], N at most a little over `seconds`, and its rate; or None.
    """
    with opened(path) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None, 16000
        if stream.codec_context is None or not (stream.rate and stream.channels):
            raise SparksError(f"cannot decode the sound of {path}; re-encode it, or remove it")
        rate, chunks, filled = stream.rate, [], 0
        for part in _resampled(container.decode(stream), rate, stream.channels):
            chunk = torch.from_numpy(part.to_ndarray())
            # Tracks need not start together nor be whole: silence fills, a cut catches up.
            gap = filled if part.pts is None else round((_time(part) - start) * rate)
            gap -= filled
            if not filled or abs(gap) > _JITTER * rate:
                chunk = F.pad(chunk, (max(gap, -chunk.shape[1]), 0))
            chunks.append(chunk)
            filled += chunk.shape[1]
            if filled >= seconds * rate:
                break
    if not filled:
        return None, 16000
    return torch.cat(chunks, dim=1).nan_to_num().clamp(-1, 1), rate


def _video_stream(container: Any, path: str | Path) -> Any:
    covers = av.stream.Disposition.attached_pic  # the picture of an album is no video
    streams = [each for each in container.streams.video if not each.disposition & covers]
    if not streams:
        raise SparksError(f"{path} has no video stream; give a file with a picture")
    codec = streams[0].codec_context
    if codec is None:
        raise SparksError(f"{path} is in a form that cannot be decoded; re-encode it to mp4")
    if codec.width * codec.height > MOST_PIXELS:
        raise SparksError(
            f"{path} is {codec.width}x{codec.height} pixels, of which {MOST_PIXELS} at most are "
            "read; scale it down first"
        )
    codec.options = {"max_pixels": str(MOST_PIXELS)}  # it may grow on the way
    streams[0].thread_type = "AUTO"
    return streams[0]


def _own_rate(stream: Any) -> Fraction:
    """The nominal rate, or the average one of a file that strays from it."""
    nominal, average = map(_fraction, (stream.base_rate, stream.average_rate))
    if nominal and average and abs(nominal - average) > average / 10:
        nominal = average
    # Of a rate that only an odd file has, a near and simple one is as good.
    return max(Fraction(nominal or average or 25).limit_denominator(1001), Fraction(1, 1001))


def _timed(container: Any, stream: Any, period: Fraction) -> Iterator[tuple[Fraction, Any]]:
    """Whole frames with their times in seconds, guessed where the file is silent about them."""
    decoded = container.decode(stream)
    if container.format.name == "avi":  # which stores the order of decoding only
        decoded = _restamped(decoded)
    time = -period
    for frame in decoded:
        time = time + period if frame.pts is None else _time(frame)
        if not frame.is_corrupt:
            yield time, frame


def _restamped(frames: Iterator[Any]) -> Iterator[Any]:
    origin = None
    for frame in frames:
        origin = frame.dts if origin is None else origin
        frame.pts = None if frame.dts is None else frame.dts - origin
        yield frame


def _on_grid(
    first: tuple[Fraction, Any], rest: Iterator[tuple[Fraction, Any]], fps: Fraction
) -> Iterator[Any]:
    """What is shown at each `i / fps` after the first frame, or comes within half a period."""
    (start, frame), now, index = first, first[0], 0
    for time, following in rest:
        # Between dense frames the nearest is taken; through a long pause the last one stays.
        half = min(max(time - now, Fraction(0)), 1 / fps) / 2
        while start + index / fps <= time - half:
            yield frame
            index += 1
        now, frame = max(now, time), following
    shown = frame.duration * _fraction(frame.time_base) if frame.duration else 1 / fps
    # Timestamps in whole milliseconds make a clip seem longer or shorter by a little.
    for _ in range(index, max(1, int((now + shown - start) * fps + Fraction(1, 4)))):
        yield frame


def _time(frame: Any) -> Fraction:
    return Fraction(frame.pts * _fraction(frame.time_base))


def _square_size(frame: Any, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height that show pixels of this aspect as squares."""
    return (round(frame.width * aspect) if aspect else frame.width), frame.height


def _upright(frame: Any, size: tuple[int, int]) -> Tensor:
    """`[1, 3, H, W]` in [0, 1]; phones store portrait video on its side with a rotation beside."""
    pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    return torch.rot90(image, round((frame.rotation or 0) / 90), (2, 3)).float() / 255


def _promised(container: Any, stream: Any, fps: Fraction) -> int:
    """Frames that the header promises, 0 if it does not say."""
    if stream.duration is not None:
        return int(stream.duration * _fraction(stream.time_base) * fps)
    return int(Fraction(container.duration or 0, av.time_base) * fps)


def _check_memory(count: int, frame: Tensor, path: str | Path) -> None:
    if count * frame.numel() > MOST_VALUES:
        height, width = frame.shape[-2:]
        raise SparksError(
            f"{path} holds {count} or more frames of {width}x{height}, more than fit into memory; "
            "set clip.num_frames (e.g. 89), clip.size or both"
        )


def _stack(frames: list[Tensor]) -> Tensor:
    """As torch.stack, but lets go of each frame once it is copied."""
    whole = torch.empty(len(frames), *frames[0].shape)
    for index in range(len(frames)):
        whole[index], frames[index] = frames[index], frames[-1]
    return whole


def _resampled(frames: Iterator[Any], rate: int, channels: int) -> Iterator[Any]:
    """Planar float parts of the same sound; a track may change its form on the way."""
    layout = "mono" if channels == 1 else "stereo"
    resamplers: dict[tuple[str, str, int], av.AudioResampler] = {}
    for frame in frames:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form not in resamplers:
            resamplers[form] = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        yield from resamplers[form].resample(frame)
    for resampler in resamplers.values():
        yield from (part for part in resampler.resample(None) if part is not None)


def _fraction(number: Any) -> Fraction:
    """A rate or time base of PyAV, whose own kind of fraction it is from release 19 on."""
    return Fraction(number.numerator, number.denominator) if number else Fraction(0)
