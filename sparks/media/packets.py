"""From packets to frames: what is broken is left out, and jumps of time are closed."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

from sparks.media.ffmpeg import Notes, fraction

# In seconds, the first two as of the ffmpeg program.
_FORWARD, _BACK, _PAUSE = 10, Fraction(1, 10), 1


def jumps(container: Any) -> bool:
    """Whether time may jump in files of this form, as in transport streams."""
    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def decoded(container: Any, stream: Any, notes: Notes, *, from_key: bool = False) -> Iterator[Any]:
    """Frames of a stream in the order they are shown, and None where a packet is broken.

    Args:
        container: opened, nothing read from it yet.
        stream: one of its streams.
        notes: where oddities go.
        from_key: leave out what comes before the first picture that needs no other.
    """
    what = "picture" if stream.type == "video" else "sound"
    packets = _packets(container, stream, notes)
    for packet in _from_key(packets, notes) if from_key else packets:
        try:
            yield from stream.decode(packet)
        except av.FFmpegError:
            if packet.size:
                notes.add(f"{{}} broken packet(s) of its {what} left out")
                yield None


def _from_key(packets: Iterator[Any], notes: Notes) -> Iterator[Any]:
    for packet in packets:
        if packet.is_keyframe:
            yield packet
            break
        notes.add("it begins within a group of pictures; {} before the first whole one left out")
    yield from packets


def _packets(container: Any, stream: Any, notes: Notes) -> Iterator[Any]:
    """Packets of one stream up to where the file ends or breaks off, and an empty one."""
    try:
        for packet in _on_one_clock(container, stream, notes):
            if packet.size and packet.stream.index == stream.index:
                yield packet
    except av.FFmpegError as error:
        notes.add(f"it breaks off ({error.strerror}); what comes before is read")
    last = av.Packet()  # has the decoder give what it holds back
    last.stream, last.time_base = stream, stream.time_base
    yield last


def _on_one_clock(container: Any, stream: Any, notes: Notes) -> Iterator[Any]:
    if not jumps(container):
        return container.demux(stream)
    # Time jumps for all streams at once; picture and sound must see the same jumps, one tells.
    packets = container.demux([*container.streams.video, *container.streams.audio])
    return _closed(packets, notes if stream.type == "video" else Notes(""))


def _closed(packets: Iterable[Any], notes: Notes) -> Iterator[Any]:
    """The same packets, on a clock that goes on evenly where theirs jumps."""
    shift, latest = Fraction(0), None
    before: dict[int, tuple[Fraction, Fraction, int]] = {}  # of each stream: time, next time, lead
    for packet in packets:
        base, index = fraction(packet.time_base), packet.stream.index
        if packet.dts is not None:
            time = packet.dts * base + shift
            last, due, lead = before.get(index, (time, time if latest is None else latest, 0))
            jump = time - due
            if abs(jump) > _FORWARD or time + _BACK < last:
                notes.add("{} jump(s) in its time closed")
                shift, time = shift - jump, due
            elif jump > _PAUSE and index in before and packet.stream.type == "video":
                notes.add("{} pause(s) in its time; the picture stands still there")
            latest = time + (packet.duration or 0) * base
            before[index] = time, latest, _together(packet, base, lead)
        _move(packet, round(shift / base))
        yield packet


def _together(packet: Any, base: Fraction, lead: int) -> int:
    """Ticks from decoding a packet to showing it: `lead` where one time is from beyond a jump."""
    if packet.pts is None:
        return lead
    if abs(packet.pts - packet.dts) * base > _FORWARD:
        packet.pts = packet.dts + lead
    return int(packet.pts - packet.dts)


def _move(packet: Any, ticks: int) -> None:
    packet.dts = None if packet.dts is None else packet.dts + ticks
    packet.pts = None if packet.pts is None else packet.pts + ticks
