"""What a search has done so far, on disk: written after every evaluation, read to go on.

history.jsonl                 one row per evaluation
state.safetensors             the solver's state, if it has one, when the last row was written
state.previous.safetensors    the one before
"""

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from sparks.errors import SparksError
from sparks.files import opened_itself, sync
from sparks.locks import locked
from sparks.search.checkpoints import Checkpoint, load_checkpoint, previous, save_checkpoint
from sparks.search.history import HistoryRow, read_rows

log = logging.getLogger("sparks")


class Journal:
    """The memory of one search; no other process can open it before it is closed.

    The lock goes with the process, however that ends; see `sparks.locks`.

    Attributes:
        rows: recorded so far.
        checkpoint: what to go on from, the newest that fits `rows`; None if there is none.

    Args:
        folder: where the files are; made if need be.

    Raises:
        SparksError: another process is at it, or it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path, self.state = folder / "history.jsonl", folder / "state.safetensors"
        with contextlib.ExitStack() as opening:
            self._file = self._open(opening)
            self.rows = self._read()
            self.checkpoint = self._restore()
            self._opened = opening.pop_all()

    def record(self, rows: Sequence[HistoryRow], checkpoint: Checkpoint | None = None) -> None:
        """Add the rows of one batch and, for a solver with a state, the search after it.

        The state goes first: whenever the process ends, one of the two states fits the rows.

        Raises:
            SparksError: the disk is full or the folder gone; the rows are whole as they were.
        """
        if not os.fstat(self._file.fileno()).st_nlink:  # what is written to it would be lost
            raise SparksError(f"{self.path} was removed while it was in use; start a new run")
        if checkpoint is not None:
            save_checkpoint(self.state, checkpoint)
        self._append("".join(json.dumps(row) + "\n" for row in rows).encode())
        self.rows.extend(rows)

    def finish(self) -> None:
        """Remove what only a search that goes on needs."""
        for path in (self.state, previous(self.state)):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes at it."""
        self._opened.close()

    def _open(self, opening: contextlib.ExitStack) -> IO[bytes]:
        """The history, to be appended to, once no other process is at it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if opening.enter_context(locked(self.folder)):
                return opening.enter_context(
                    open(self.path, "ab", buffering=0, opener=opened_itself)
                )
        except OSError as error:
            raise SparksError(
                f"cannot write {self.path}: {error.strerror}; choose another output folder"
            ) from error
        raise SparksError(
            f"run {self.folder} is in use by another process; wait for it, or stop it first"
        )

    def _read(self) -> list[HistoryRow]:
        rows, size = read_rows(self.path)
        if excess := os.fstat(self._file.fileno()).st_size - size:
            log.warning(
                "the last row of %s is torn: its %d bytes are dropped, the row before goes on",
                *(self.path, excess),
            )
            os.ftruncate(self._file.fileno(), size)
        return rows

    def _restore(self) -> Checkpoint | None:
        """The newer of the two states that does not know more than the rows; it stays alone."""
        for path in (self.state, previous(self.state)):
            if not path.exists():
                continue
            if not path.is_file():
                raise SparksError(f"{path} is no file; move it away")
            checkpoint = load_checkpoint(path)
            if checkpoint is None:
                log.warning("%s is torn; going on from what was saved before it", path)
            elif checkpoint.evaluations <= len(self.rows):
                if path != self.state:
                    path.replace(self.state)
                return checkpoint
        return None

    def _append(self, data: bytes) -> None:
        file = self._file.fileno()
        size = os.fstat(file).st_size
        try:
            while data:
                data = data[os.write(file, data) :]
            sync(file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(file, size)
            raise SparksError(
                f"cannot write {self.path}: {error.strerror}; make room there"
            ) from error
