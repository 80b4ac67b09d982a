"""All runs, experiments and pages below a folder, known without reading them anew each time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sparks.files import read_bytes, read_json, write_text

_DEEPEST = 6  # folders below the first
_FRESH = 1.0  # seconds for which what was seen holds
_GROWING = ("history.jsonl",)  # what is written to in place; all else is replaced as a whole
_TICK = 10**9  # nanoseconds: two changes that are nearer may have one time
RUNS = ("edit", "transfer")
_MODEL = re.compile(r"^model: ['\"]?(.+?)['\"]?$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A run, or the folder of an experiment or a comparison.

    Attributes:
        path: relative to the folder of all, `/` between its parts.
        kind: `edit`, `transfer`, `experiment` or `comparison`.
        title: the prompt of a run; else the folder's name.
        state: `finished`, `stopped` or `unfinished`.
        created: seconds since 1970.
        before, after: P(yes) of the prompt alone and of the edit; `judge` is the held-out one's.
        evaluations, seconds: of the search; `whole` also has the last render.
        solver, model: what made it.
        picked: the evaluation that was picked by eye.
        inside: the experiment that it belongs to.
        has_page: there is an `index.html`.
        has_video: there is an edit to be seen.
    """

    path: str
    kind: str
    title: str
    state: str = "finished"
    created: float = 0.0
    before: float | None = None
    after: float | None = None
    judge: float | None = None
    evaluations: int = 0
    seconds: float | None = None
    whole: float | None = None
    solver: str = ""
    model: str = ""
    picked: int | None = None
    inside: str = ""
    has_page: bool = False
    has_video: bool = False

    @property
    def words(self) -> str:
        """What a search looks through."""
        return f"{self.path} {self.title} {self.solver} {self.model} {self.state}".lower()


class Index:
    """Of a folder of runs; what has not changed on disk is not read again.

    Args:
        root: the folder.
        cache: a JSON file that outlives the process; whatever it holds, only what the folder has
            is listed.
    """

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self._reading = threading.Lock()
        self._seen = 0.0
        self._stamps: dict[str, list[int]] = {}
        self._entries: dict[str, Entry] = {}
        self._words: dict[str, str] = {}
        self._restore()

    def entries(self, query: str = "") -> list[Entry]:
        """Latest first; with a query, those that have each of its words."""
        self.refresh()
        words = query.lower().split()
        found = [
            entry
            for path, entry in self._entries.items()
            if all(word in self._words[path] for word in words)
        ]
        return sorted(found, key=lambda entry: (-entry.created, entry.path))

    def entry(self, path: str) -> Entry | None:
        """One of them; what was there is taken to be there still."""
        if path not in self._entries:
            self.refresh()
        return self._entries.get(path)

    def refresh(self, *, at_once: bool = False) -> None:
        """See what is there now."""
        with self._reading:
            if not at_once and time.monotonic() - self._seen < _FRESH:
                return
            entries, stamps, changed = {}, {}, False
            for path, kind, inside, stamp in self._walk():
                stamps[path] = stamp
                if self._stamps.get(path) == stamp and path in self._entries:
                    entries[path] = self._entries[path]
                else:
                    entries[path], changed = self._read(path, kind, inside), True
            changed |= entries.keys() != self._entries.keys()
            self._stamps, self._entries = stamps, entries
            if changed or len(self._words) != len(entries):
                self._words = {path: entry.words for path, entry in entries.items()}
            if changed:
                self._store()
            self._seen = time.monotonic()

    def _walk(self) -> Iterator[tuple[str, str, str, list[int]]]:
        """Path, kind, experiment and stamp of everything that is listed."""
        left: list[tuple[str, str, int, int]] = [("", "", 0, 0)]
        while left:
            path, inside, depth, changed = left.pop()
            try:
                with os.scandir(self.root / path) as scan:
                    content = {each.name: each for each in scan}
            except OSError:
                continue
            kind = _kind(content.keys())
            if kind is not None and path:
                yield path, kind, inside, _stamp(changed, content)
            if kind in RUNS or depth >= _DEEPEST:
                continue
            within = path if kind is not None else inside
            for name, each in content.items():
                if name.startswith(".") or not _is_folder(each):
                    continue
                below, moment = f"{path}/{name}".lstrip("/"), _changed(each)
                known = self._entries.get(below)
                if known is not None and self._settled(known, moment):
                    yield below, known.kind, within, self._stamps[below]
                else:
                    left.append((below, within, depth + 1, moment))

    def _settled(self, entry: Entry, changed: int) -> bool:
        """Whether a run is over and nothing was put into its folder since it was read."""
        over = entry.kind in RUNS and entry.state == "finished"
        return over and self._stamps[entry.path][0] == changed

    def _read(self, path: str, kind: str, inside: str) -> Entry:
        folder = self.root / path
        if kind not in RUNS:
            title = _text(_json(folder / "comparison.json").get("title")) or Path(path).name
            page = folder / "index.html"
            return Entry(path, kind, title, "finished", _time(folder), has_page=page.is_file())
        facts, result = _json(folder / "run.json"), _json(folder / "result.json")
        cost, spent = _dict(facts.get("cost")), _dict(result.get("spent"))
        created = _moment(cost.get("created")) or _time(folder)
        stopped = result.get("stopped_by")
        state = "unfinished" if not result else "finished"
        done = _time(folder / "result.json") if result else None
        return Entry(
            path=path,
            kind=kind,
            title=_text(facts.get("prompt")) or _prompt(folder) or Path(path).name,
            state="stopped" if stopped in ("interrupt", "memory") else state,
            created=created,
            before=_number(result.get("p_yes_baseline")),
            after=_number(result.get("p_yes_edited", result.get("p_yes_transfer"))),
            judge=_number(result.get("p_yes_judge_edited", result.get("p_yes_judge_transfer"))),
            evaluations=int(_number(spent.get("renders")) or _lines(folder / "history.jsonl")),
            seconds=_number(spent.get("wall_clock")),
            whole=done - _time(folder / "config.yaml") if done else None,
            solver=_text(result.get("solver")),
            model=_model(folder),
            picked=_whole(_json(folder / "picked.json").get("evaluation")),
            inside=inside,
            has_page=(folder / "index.html").is_file(),
            has_video=(folder / "edited.mp4").is_file(),
        )

    def _store(self) -> None:
        rows = [[self._stamps[path], asdict(entry)] for path, entry in self._entries.items()]
        with contextlib.suppress(Exception):  # it is only made to be quicker the next time
            write_text(self.cache, json.dumps(rows))

    def _restore(self) -> None:
        try:
            rows = read_json(self.cache)
            entries = [(stamp, Entry(**entry)) for stamp, entry in rows]
        except (OSError, ValueError, TypeError, RecursionError):
            return
        self._stamps = {entry.path: stamp for stamp, entry in entries}
        self._entries = {entry.path: entry for _, entry in entries}


def _kind(names: Any) -> str | None:
    if "config.yaml" in names:
        return "edit" if "run.json" in names else "transfer" if "result.json" in names else None
    if "plan.json" in names:
        return "experiment"
    return "comparison" if "comparison.json" in names else None


def _stamp(changed: int, content: dict[str, os.DirEntry[str]]) -> list[int]:
    """When something was put into the folder last, 0 if that was just now; and how far it is."""
    settled = changed if time.time_ns() - changed > _TICK else 0
    return [settled, changed, *(_size(content.get(name)) for name in _GROWING)]


def _changed(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def _size(entry: os.DirEntry[str] | None) -> int:
    try:
        return entry.stat().st_size if entry is not None else -1
    except OSError:
        return -1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _json(path: Path) -> dict[str, Any]:
    try:
        return _dict(read_json(path))
    except (OSError, ValueError, RecursionError):
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _lines(path: Path) -> int:
    try:
        return read_bytes(path).count(b"\n")
    except OSError:
        return 0


def _model(folder: Path) -> str:
    try:
        found = _MODEL.search((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return found[1] if found else ""


def _prompt(folder: Path) -> str:
    """Of a transfer, whose facts are in its settings alone."""
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
    found = re.search(r"^prompt: (.+)$", text, re.MULTILINE)
    return found[1].strip("'\"") if found else ""
