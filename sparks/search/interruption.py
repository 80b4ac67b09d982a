"""Ctrl-C and SIGTERM: the first one asks, the second one stops."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger("sparks")


class Interruption:
    """Inside, the first signal only sets `wanted`; the next one raises KeyboardInterrupt.

    Signals reach the main thread alone; in another one nothing is changed, nor is a signal that
    somebody else handles, as a batch system does before it stops and queues a job again.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            ours = (signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler)
            free = [each for each in self.SIGNALS if signal.getsignal(each) in ours]
            self._before = {each: signal.signal(each, self._heard) for each in free}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        log.warning(
            "stopping: the running evaluation is finished and the best so far rendered; "
            "interrupt again to stop at once"
        )
