"""Film of camcorders and broadcasts, whose odd and even lines were taken at different times."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import av
import av.filter

from sparks.media.ffmpeg import Notes, fraction
from sparks.media.timing import Shown


def deinterlaced(frames: Iterable[Shown], notes: Notes) -> Iterator[Shown]:
    """The same frames at the same times, those marked as interlaced made whole."""
    bwdif: _Bwdif | None = None
    for shown in frames:
        if bwdif is not None and bwdif.form != _form(shown.frame):
            yield from bwdif.end()
            bwdif = None
        if bwdif is None and shown.frame.interlaced_frame:
            notes.add("it is interlaced, and deinterlaced (bwdif)")
            bwdif = _Bwdif(shown.frame)
        if bwdif is None:
            yield shown
        else:
            yield from bwdif.put(shown)
    if bwdif is not None:
        yield from bwdif.end()


def _form(frame: Any) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name


class _Bwdif:
    """FFmpeg's filter of that name: one frame for two fields, whole frames untouched.

    It gives as many frames as it takes, each after the one that follows it is known.
    """

    def __init__(self, frame: Any) -> None:
        self.form = width, height, pixels = _form(frame)
        self._waiting: deque[Shown] = deque()
        self._graph = av.filter.Graph()
        base = fraction(frame.time_base) or 1
        source = self._graph.add(
            "buffer", f"video_size={width}x{height}:pix_fmt={pixels}:time_base={base}"
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def put(self, shown: Shown) -> Iterator[Shown]:
        self._waiting.append(shown)
        self._graph.vpush(shown.frame)
        return self._given()

    def end(self) -> Iterator[Shown]:
        self._graph.vpush(None)
        return self._given()

    def _given(self) -> Iterator[Shown]:
        while self._waiting:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield self._waiting.popleft()._replace(frame=frame)
