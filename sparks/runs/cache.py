"""What one edit can take over from the one before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sparks.files import place

T = TypeVar("T")


class Cache:
    """The last thing of each kind that was built, and what it was built from.

    At most one of a kind is held, so that edits in a row need no more memory than one does.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[Any, Any]] = {}

    def get(self, kind: str, recipe: Any, build: Callable[[], T]) -> T:
        """What `build` makes, or made the last time if the recipe was equal."""
        if kind in self._held and self._held[kind][0] == recipe:
            return self._held[kind][1]  # type: ignore[no-any-return]
        self._held.pop(kind, None)  # there may be no room for two
        made = build()
        self._held[kind] = (recipe, made)
        return made


def stamp(path: Path | str | None) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all files of a folder; nothing for what is no folder here."""
    folder = place(str(path or ""))
    if path is None or not folder.is_dir():
        return []
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
