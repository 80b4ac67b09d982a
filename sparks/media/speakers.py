"""Which speaker each channel of a sound is for, and the order in which FFmpeg mixes them.

Cameras and editors store surround sound in orders of their own. PyAV 18 and 19 free the memory of
such an order with every frame, and once more with the decoder: the process dies. So the order is
taken from the decoder before it begins, and the channels are put in FFmpeg's own.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import av
import av.filter

from sparks.media.ffmpeg import fraction

_USUAL = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR", "TC", "TFL", "TFC"),
    *("TFR", "TBL", "TBC", "TBR", "DL", "DR", "WL", "WR", "SDL", "SDR", "LFE2", "TSL", "TSR"),
    *("BFC", "BFL", "BFR", "SSL", "SSR", "TTL", "TTR"),
)


def take_speakers(codec: Any) -> list[str]:
    """Names of a decoder's channels as they are stored; the decoder forgets an unusual order.

    To be called once, before the decoder is opened: what it gives as its layout shares the memory
    of its own until it has another.
    """
    layout = codec.layout
    names = [channel.name for channel in layout.channels]
    if names and names != _sorted(names):
        codec.layout = f"{len(names)}C"  # so many channels, of no known place
    return names


def _sorted(names: Sequence[str]) -> list[str]:
    return [name for name in _USUAL if name in names]


def arranged(frames: Iterable[Any], names: Sequence[str]) -> Iterator[Any]:
    """The same frames, their channels in the usual order if that can be told."""
    usual, graph = _sorted(names), None
    unusual = names != usual and len(names) == len(usual)
    for frame in frames:
        # Some decoders know the places of their channels themselves.
        if frame is None or not unusual or frame.layout.name != f"{len(names)} channels":
            yield frame
            continue
        graph = graph or _channelmap(frame, names, usual)
        graph.push(frame)
        yield graph.pull()


def _channelmap(frame: Any, names: Sequence[str], usual: Sequence[str]) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add(
        "abuffer",
        sample_rate=str(frame.sample_rate),
        sample_fmt=frame.format.name,
        channel_layout=frame.layout.name,
        time_base=str(fraction(frame.time_base)),
    )
    places = "|".join(f"{index}-{name}" for index, name in enumerate(names))
    moved = graph.add("channelmap", map=places, channel_layout="+".join(usual))
    graph.link_nodes(source, moved, graph.add("abuffersink")).configure()
    return graph
