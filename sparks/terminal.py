"""The streams of a command: what cannot be shown is lost, and the work goes on."""

import contextlib
import io
import logging
import sys
from typing import Any, TextIO

from sparks.errors import printable


class _Nowhere(io.BytesIO):
    def write(self, data: Any) -> int:
        return len(data)


class Lenient:
    """A stream whose reader may be gone, or its disk full.

    Args:
        stream: None for one that was closed before the program began.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = stream or io.TextIOWrapper(_Nowhere())
        reconfigure = getattr(self._stream, "reconfigure", None)  # not every stand-in can
        if reconfigure is not None:
            reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """As of a file, whatever becomes of it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of a file, whatever becomes of it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Shown(logging.Handler):
    """Warnings on standard error, a line each, with nothing that a terminal obeys."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(record.getMessage()), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Make standard output, standard error and warnings such that nothing there ends the work."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Lenient):
            setattr(sys, name, Lenient(stream))
    log = logging.getLogger("sparks")
    if not any(isinstance(handler, _Shown) for handler in log.handlers):
        log.addHandler(_Shown())


def shows(text: str) -> bool:
    """Whether standard output has all the characters of `text`."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
