"""What plugins must be that decide where work is done: executors. And the work they are given.

Defined here, below the conformance checks, as every kind of plugin is.
"""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from sparks.claims import BEAT, STALE, Claims, Worker, forget

_POLL = 0.5  # seconds until it is looked again for a piece that has become free


class Taker(Protocol):
    """Goes through the pieces of some work for one worker."""

    def take(self) -> str | None:
        """Take a piece that is free and do it; its name, None if none is free now."""

    @property
    def left(self) -> int:
        """Pieces that are neither done nor failed."""


class Begun:
    """A worker that has begun: the body of every executor's loop.

    Attributes:
        name: of the worker.
    """

    def __init__(self, worker: Worker, taker: Taker, end: contextlib.ExitStack) -> None:
        self.name, self._taker, self._end = worker.name, taker, end

    def step(self) -> str | None:
        """Do one piece, waiting for one if need be; its name, or None once none is left.

        Raises:
            SparksError: what keeps this worker, or any, from doing the rest.
        """
        while True:
            if (piece := self._taker.take()) is not None:
                return piece
            if not self._taker.left:
                return None
            time.sleep(_POLL)

    def end(self) -> None:
        """Say that this worker is gone."""
        self._end.close()


@dataclass(frozen=True)
class Work(ABC):
    """Pieces that any number of workers do, each where it is; can be pickled.

    Attributes:
        folder: that all of them share, absolute.
        home: where relative paths in settings are read from.
        stale: seconds without a sign of life after which a worker's piece is taken over.
    """

    folder: Path
    home: Path
    stale: float = STALE

    def begin(self, name: str | None = None) -> Begun:
        """Begin to work in this process, under a name that no other worker has."""
        with contextlib.ExitStack() as opening:
            if self.home.is_dir():
                opening.enter_context(contextlib.chdir(self.home))
            worker = opening.enter_context(Worker(self.folder, name, min(BEAT, self.stale / 4)))
            taker = self.taker(Claims(self.folder, worker, self.stale))
            return Begun(worker, taker, opening.pop_all())

    @abstractmethod
    def taker(self, claims: Claims) -> Taker:
        """What goes through the pieces for a worker."""

    @property
    @abstractmethod
    def left(self) -> int:
        """Pieces that are neither done nor failed, as the folder says."""

    def lost(self, name: str) -> None:
        """A worker has died before the eyes of its executor: its piece is free at once."""
        forget(self.folder, name)


Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Pieces(Work):
    """Work in which no piece depends on another: each writes a file, in one step.

    Attributes:
        outputs: of each piece, by its name, a relative path: the file, and what that was before.
        do: does one.
    """

    outputs: Mapping[str, tuple[Path, Stamp]] = field(default_factory=dict)
    do: Callable[[str], None] = print

    @classmethod
    def writing(
        cls, folder: Path, outputs: Mapping[str, Path], do: Callable[[str], None]
    ) -> Pieces:
        """Work that is done when all of `outputs` have been written from now on."""
        marked = {piece: (path, stamp_of(path)) for piece, path in outputs.items()}
        return cls(folder.absolute(), Path.cwd(), outputs=marked, do=do)

    def done(self, piece: str) -> bool:
        """Whether a piece has been written."""
        path, before = self.outputs[piece]
        return stamp_of(path) != before

    def taker(self, claims: Claims) -> Taker:
        """See `Work.taker`."""
        return _InTurn(self, claims)

    @property
    def left(self) -> int:
        """See `Work.left`."""
        return sum(not self.done(piece) for piece in self.outputs)


def stamp_of(path: Path) -> Stamp:
    """What tells a file from what it was before, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class _InTurn:
    def __init__(self, work: Pieces, claims: Claims) -> None:
        self._work, self._claims = work, claims
        self._open = dict.fromkeys(work.outputs)

    @property
    def left(self) -> int:
        return len(self._open)

    def take(self) -> str | None:
        for piece in list(self._open):
            if self._work.done(piece):
                del self._open[piece]
            elif (claim := self._claims.take(piece)) is not None:
                try:
                    with self._claims.worker.at(piece):
                        if not self._work.done(piece):  # nor by now
                            self._work.do(piece)
                finally:
                    claim.end()
                return piece
        return None


@runtime_checkable
class Executor(Protocol):
    """Where workers are.

    It is made with the user's options and, if it takes it, `jobs`: how many workers, None for as
    many as it thinks right.
    """

    def run(self, work: Work) -> None:
        """Have workers do all of the work: each begins it once and steps until it is given None.

        Returns once no piece is left, or nobody is at work any more. A worker that dies is told of
        by `work.lost`, and another is begun in its place.

        Raises:
            SparksError: what a worker raised, or why there are none.
        """
        ...


class Here:
    """An executor: one worker, in this process.

    Args:
        name: of the worker, by default one that no other has.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def run(self, work: Work) -> None:
        """See `Executor.run`."""
        worker = work.begin(self.name)
        try:
            while worker.step() is not None:
                pass
        finally:
            worker.end()
