"""Pieces of work that any number of processes take, one each, on machines that share a folder.

workers/NAME.json     who is at work: written anew every few seconds, removed in the end
claims/PIECE/N.json   the N-th claim to a piece; the highest is the one that holds
claims/PIECE/N/       what its worker has made so far

A claim is a file that only one process can create. It holds for as long as its worker lives. A
worker is dead when its file is gone, when its process is gone from this machine, or when its file
has not changed for a stated time on the clock of whoever looks: clocks are never compared. Nothing
is ever taken away from a worker that was only slow: it goes on in its own folder and finds, before
it publishes anything, that a later claim is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.files import read_json

BEAT = 5.0  # seconds between two signs of life
STALE = 120.0  # without any, a worker is dead; network drives may show a sign a minute late


class Worker:
    """This process among those at work in a folder; inside `with` it gives signs of life.

    Attributes:
        name: unique in the folder.
        says: what others may know of it: the piece it is at, and so on.

    Args:
        folder: that is shared.
        name: by default one that no other has.
        beat: seconds between signs of life.
    """

    def __init__(self, folder: Path, name: str | None = None, beat: float = BEAT) -> None:
        self.name = name or new_name()
        self.says: dict[str, Any] = {}
        self._path = folder / "workers" / f"{self.name}.json"
        check_inside(folder, self._path.parent)
        self._beat, self._count, self._ended = beat, 0, threading.Event()
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._writing = threading.Lock()

    def __enter__(self) -> Worker:
        try:
            self._path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise SparksError(f"cannot write {self._path.parent}: {error.strerror}") from error
        self.sign()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def at(self, piece: str, **says: Any) -> Iterator[None]:
        """Inside, others see what this one is at, and for how long."""
        said, self._since = self.says, time.monotonic()
        self.says = said | {"piece": piece} | says
        self.sign()
        try:
            yield
        finally:
            self.says = said

    def sign(self) -> None:
        """Give a sign of life; a folder that is gone has nobody to read it."""
        with self._writing, contextlib.suppress(OSError):
            self._count += 1
            seconds = round(time.monotonic() - self._since, 1)
            content = {"beat": self._count, **_process(), **self.says, "seconds": seconds}
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(content), encoding="utf-8")
            os.replace(temporary, self._path)

    def _live(self) -> None:
        while not self._ended.wait(self._beat):
            self.sign()


def new_name() -> str:
    """A worker's name that no other has."""
    return f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"


def workers(folder: Path) -> dict[str, dict[str, Any]]:
    """What all workers say of themselves, by name; the dead are among them until found out."""
    files = sorted((folder / "workers").glob("*.json"))
    said = {file.stem: _read(file) for file in files}
    return {name: content for name, content in said.items() if content is not None}


class Watch:
    """Tells the living from the dead, by this process's own clock.

    Args:
        folder: that is shared.
        stale: seconds without a sign of life.
    """

    def __init__(self, folder: Path, stale: float = STALE) -> None:
        self.folder, self.stale = folder, stale
        self._seen: dict[str, tuple[Any, float]] = {}

    def alive(self, name: str) -> bool:
        """Whether a worker may still be at work."""
        content = _read(self.folder / "workers" / f"{name}.json")
        if content is None or _gone(content):
            return False
        return self.changing(name, content.get("beat"))

    def changing(self, name: str, value: Any) -> bool:
        """Whether something was new to this process within the stated time."""
        now = time.monotonic()
        if name not in self._seen or self._seen[name][0] != value:
            self._seen[name] = value, now
        return now - self._seen[name][1] < self.stale


@dataclass(frozen=True)
class Claim:
    """A piece that a worker has taken.

    Attributes:
        piece: its name, a relative path.
        number: which claim to it this is, from 1.
        token: of this claim alone.
        home: folder for what is made of it; not there yet.
        earlier: folders of the claims before, the oldest first, and whether each was given back.
    """

    piece: str
    number: int
    token: str
    home: Path
    earlier: tuple[tuple[Path, bool], ...] = field(default=(), compare=False)

    @property
    def holds(self) -> bool:
        """Whether no other worker has taken the piece since."""
        there = _numbers(self.home.parent)
        mine = _read(self.home.with_suffix(".json")) or {}
        return bool(there) and there[-1] == self.number and mine.get("token") == self.token

    def give_back(self) -> None:
        """Leave the piece, as far as it is, to the next who takes it."""
        if self.holds:
            _replace(self.home.with_suffix(".json"), {"token": self.token, "back": True})

    def end(self) -> None:
        """Remove all that was claimed of the piece, which is published or has failed; if it holds.

        One that does not hold any more removes what it made itself.
        """
        gone = self.home.parent if self.holds else self.home
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):  # others may be at pieces beside it
            self.home.parent.rmdir()
        with contextlib.suppress(OSError):
            self.home.parent.parent.rmdir()


class Claims:
    """Takes pieces for one worker.

    Args:
        folder: that is shared.
        worker: this one.
        stale: seconds without a sign of life after which a worker is dead.
    """

    def __init__(self, folder: Path, worker: Worker, stale: float = STALE) -> None:
        self.folder, self.worker, self.watch = folder, worker, Watch(folder, stale)
        for name in workers(folder):
            if not self.watch.alive(name):
                forget(folder, name)

    def held(self, piece: str) -> bool:
        """Whether somebody living has the piece."""
        place = self.folder / "claims" / piece
        numbers = _numbers(place)
        return bool(numbers) and self._holds(piece, place / f"{numbers[-1]}.json")

    def take(self, piece: str) -> Claim | None:
        """The piece, if nobody living has it.

        Raises:
            SparksError: the folder cannot be written, or a link leads out of it.
        """
        place = self.folder / "claims" / piece
        check_inside(self.folder, place)
        numbers = _numbers(place)
        if numbers and self._holds(piece, place / f"{numbers[-1]}.json"):
            return None
        number, token = (numbers or [0])[-1] + 1, secrets.token_hex(8)
        content = {"token": token, "worker": self.worker.name}
        if not _create(place / f"{number}.json", content):
            return None
        for dead in numbers[-1:]:
            forget(self.folder, str((_read(place / f"{dead}.json") or {}).get("worker", "")))
        before = tuple((place / str(n), _given_back(place / f"{n}.json")) for n in numbers)
        return Claim(piece, number, token, place / str(number), before)

    def _holds(self, piece: str, file: Path) -> bool:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError:  # its worker has just published the piece
            return True
        try:
            claim = json.loads(text)
            return not claim.get("back") and self.watch.alive(str(claim["worker"]))
        except (ValueError, KeyError, AttributeError):  # being written, or never to be finished
            return self.watch.changing(f"{piece}/{file.name}", text)


def piece_of(folder: Path, name: str) -> str | None:
    """What a worker, perhaps a dead one, is or was at; None if that is not known any more."""
    said = _read(folder / "workers" / f"{name}.json") or {}
    if isinstance(said.get("piece"), str):
        return str(said["piece"])
    for file in (folder / "claims").rglob("*.json"):
        if (_read(file) or {}).get("worker") == name:
            return file.parent.relative_to(folder / "claims").as_posix()
    return None


def check_inside(folder: Path, *places: Path) -> None:
    """Refuse to write where a link would lead elsewhere.

    Raises:
        SparksError: one of `places` is not in the folder.
    """
    for place in places:
        if not place.resolve().is_relative_to(folder.resolve()):
            raise SparksError(f"{place} leads out of {folder} by a link; remove the link")


def forget(folder: Path, name: str) -> None:
    """What a worker had taken is free at once: whoever ran it saw it die."""
    if name == Path(name).name:
        (folder / "workers" / f"{name}.json").unlink(missing_ok=True)


def _numbers(place: Path) -> list[int]:
    with contextlib.suppress(OSError):
        names = (Path(name) for name in os.listdir(place))
        return sorted(int(n.stem) for n in names if n.suffix == ".json" and n.stem.isdecimal())
    return []


def _create(file: Path, content: dict[str, Any]) -> bool:
    """Make a file that is not there; False if another process was first.

    Raises:
        SparksError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream)
    except (FileExistsError, FileNotFoundError):  # or the piece was published, its folder removed
        return False
    except OSError as error:
        raise SparksError(f"cannot write {file}: {error.strerror}; make room there") from error
    return True


def _replace(file: Path, content: dict[str, Any]) -> None:
    temporary = file.with_suffix(".new")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, file)


def _given_back(file: Path) -> bool:
    return bool((_read(file) or {}).get("back"))


def _read(file: Path) -> dict[str, Any] | None:
    """None for a file that is gone; nothing for one that is being written."""
    try:
        content = read_json(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _process() -> dict[str, Any]:
    """What tells this process from all others, on every machine."""
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, "place": _place(), "began": _began(pid)}


def _gone(said: dict[str, Any]) -> bool:
    """Whether a process of this very machine, since it was booted, has ended."""
    pid = said.get("pid")
    if not isinstance(pid, int) or said.get("place") != _place() or _place() is None:
        return False
    return _began(pid) != said.get("began")


def _place() -> str | None:
    """The machine as it was booted and the namespace of process numbers; None if unknown."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return None


def _began(pid: int) -> str | None:
    """When a process was started, in its machine's ticks; None for one that has ended."""
    with contextlib.suppress(OSError):
        after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if after[0] in "ZX" else after[19]
    return None
