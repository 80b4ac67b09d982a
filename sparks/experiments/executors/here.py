"""One worker, in this process."""

from __future__ import annotations

from sparks.search.executors import Work


class Here:
    """Does all of the work itself.

    Args:
        name: of the worker, by default one that no other has.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def run(self, work: Work) -> None:
        """See `sparks.search.executors.Executor.run`."""
        worker = work.begin(self.name)
        try:
            while worker.step() is not None:
                pass
        finally:
            worker.end()
