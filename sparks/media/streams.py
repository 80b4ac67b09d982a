"""Which of a file's streams are meant: the moving picture, the sound that a player would play."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from sparks.errors import SparksError
from sparks.media.ffmpeg import fraction, opened

_ENOUGH, _FEW, _BYTES = 300, 30, 2**26  # packets that tell a rate; fewer if they are large
_REORDERED = 16  # of the last packets, some frames shown between them are still to come
_COVERS = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
_PARTS = av.stream.Disposition.still_image | av.stream.Disposition.dependent
_ASIDES = (
    av.stream.Disposition.comment
    | av.stream.Disposition.hearing_impaired
    | av.stream.Disposition.visual_impaired
    | av.stream.Disposition.descriptions
)


@dataclass(frozen=True)
class Track:
    """A stream of pictures, as far as its first packets show it.

    Attributes:
        index: in the file.
        times: when they are shown, in seconds and order.
        begin: when the first picture is shown that needs no other; None if there is none.
    """

    index: int
    times: tuple[Fraction, ...]
    begin: Fraction | None


def tracks(path: str | Path) -> list[Track]:
    """The streams of pictures, those that move first, of these the default ones first.

    Covers of albums and preview pictures are left out.

    Raises:
        SparksError: there is none.
    """
    with opened(path) as container:
        streams = [each for each in container.streams.video if not each.disposition & _COVERS]
        if not streams:
            raise SparksError(f"{path} has no video stream; give a file with a picture")
        packets: dict[int, list[Any]] = {stream.index: [] for stream in streams}
        for packet in _first_packets(container, streams):
            packets[packet.stream.index].append(packet)
        streams.sort(key=lambda stream: _order(stream, len(packets[stream.index])))
        return [_track(stream, packets[stream.index]) for stream in streams]


def _first_packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    """Packets without their data, until they suffice for one of the streams."""
    counts, size = dict.fromkeys((stream.index for stream in streams), 0), 0
    try:
        for packet in container.demux(streams):
            if packet.size == 0:
                continue
            counts[packet.stream.index] += 1
            size += packet.size
            yield packet
            if max(counts.values()) >= (_FEW if size > _BYTES else _ENOUGH):
                return
    except av.FFmpegError:
        return  # whoever reads on will meet it


def _order(stream: Any, packets: int) -> tuple[bool, bool, bool]:
    default = stream.disposition & av.stream.Disposition.default
    return bool(stream.disposition & _PARTS), packets < 2, not default


def _track(stream: Any, packets: list[Any]) -> Track:
    base = fraction(stream.time_base)
    times = sorted({packet.pts * base for packet in packets if packet.pts is not None})
    whole = next((packet.pts for packet in packets if packet.is_keyframe), None)
    return Track(
        stream.index,
        tuple(times[:-_REORDERED] if len(times) >= _FEW else times),
        None if whole is None else whole * base,
    )


def sounds(container: Any) -> list[Any]:
    """Streams of sound, default ones first, comments and descriptions last."""
    default = av.stream.Disposition.default
    return sorted(
        container.streams.audio,
        key=lambda each: (bool(each.disposition & _ASIDES), not each.disposition & default),
    )
