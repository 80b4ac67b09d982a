"""A media file, opened by FFmpeg: what is no such file, and what is odd about one, in one line.

FFmpeg is handed an open file, never a path, and may open nothing else: a playlist that is called
a video cannot make it read other files or reach the network.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from sparks.errors import SparksError

MOST_PIXELS = 2**25  # of one frame: 7680 x 4320 and a little
# Tags may be in any encoding; from 19 on PyAV has no say in how they are read.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)

log = logging.getLogger("sparks")


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


class Notes:
    """What was odd about a file but did not keep it from being read, each told once."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._counts: Counter[str] = Counter()

    def add(self, text: str) -> None:
        """Note `text`; a `{}` in it is how often it was noted."""
        self._counts[text] += 1

    def tell(self) -> None:
        """Warn of everything noted."""
        for text, count in self._counts.items():
            log.warning("%s: %s", self._path, text.format(count))


def fraction(number: Any) -> Fraction:
    """A rate or time base of PyAV, whose own kind of fraction it is from release 19 on."""
    return Fraction(number.numerator, number.denominator) if number else Fraction(0)
