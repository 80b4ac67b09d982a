"""A SQLite file to which rows are only ever added, each on the disk before it counts."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from sparks.errors import SparksError

WAIT = 10  # seconds for another process that is writing


class Database:
    """One connection for all threads of a process; several processes may have one each.

    A transaction is over when it is on the disk (`synchronous=FULL` in WAL mode), so what was
    written survives a kill of the process and of the machine. Triggers refuse every change.

    Args:
        path: made if it is not there, for its owner's eyes only.
        tables: columns by name.

    Raises:
        SparksError: the file cannot be opened, or is something else.
    """

    def __init__(self, path: Path, tables: Mapping[str, str]) -> None:
        self._lock = RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))
            self._db = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            with self.writing() as db:
                for name, columns in tables.items():
                    _make(db, name, columns)
        except (OSError, sqlite3.Error) as error:
            raise SparksError(f"{path} cannot be opened: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk when the block has been left, undone if it raises.

        Raises:
            sqlite3.Error: the disk is full or broken, or another process writes for too long.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What a query gives."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()


def _make(db: sqlite3.Connection, name: str, columns: str) -> None:
    db.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}) STRICT")
    for change in ("UPDATE", "DELETE"):
        db.execute(
            f"CREATE TRIGGER IF NOT EXISTS no_{change}_of_{name} BEFORE {change} ON {name} "
            "BEGIN SELECT RAISE(ABORT, 'rows are only added'); END"
        )
