"""What an edit is computed on, and how it has that to itself while its seconds count.

Among the processes of one user on one machine, that is: each holds the GPUs or cores that it
computes on together with others, or alone. Other people's processes are not known of.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sparks.settings.yaml import Settings


@dataclass(frozen=True)
class Place:
    """GPUs or cores.

    Attributes:
        name: of their kind and number; seconds are compared between equal ones.
        where: which they are.
        keys: one for each, the same in all processes of this machine.
    """

    name: str
    where: str
    keys: tuple[str, ...]

    @contextlib.contextmanager
    def occupied(self, alone: bool) -> Iterator[bool]:
        """Inside, nobody else computes here, or if not `alone`, nobody who would be alone.

        False if somebody does: it is not waited for.
        """
        with contextlib.ExitStack() as held:
            yield all(_hold(held, key, alone) for key in self.keys)


def place(settings: Settings) -> Place | None:
    """Where an edit with these settings is computed in this process; None if it cannot be."""
    import torch

    default = "cuda" if torch.cuda.is_available() else "cpu"
    devices = (settings.get("editor") or {}).get("devices")
    try:
        return _place(str(settings.get("device") or default), str(devices), torch.get_num_threads())
    except (RuntimeError, AssertionError):  # torch without CUDA asserts
        return None


@functools.cache
def _place(device: str, devices: str, threads: int) -> Place:
    import torch

    host, kind = platform.node(), torch.device(device)
    if kind.type == "cuda":
        count = torch.cuda.device_count()
        every = range(count) if devices != "None" else [kind.index or 0]
        cards = [torch.cuda.get_device_properties(index) for index in every]
        names = [card.name for card in cards]
        name = names[0] if len(names) == 1 else f"{len(names)} x {names[0]}"
        keys = tuple(
            f"gpu-{getattr(card, 'uuid', n)}" for n, card in zip(every, cards, strict=True)
        )
        return Place(name, f"{host} {' '.join(keys)}", keys)
    cores = _cores()
    name = f"{_processor()}, {min(len(cores), threads)} cores"
    whole = cores == list(range(cores[0], cores[-1] + 1))
    numbers = f"{cores[0]}-{cores[-1]}" if whole else ",".join(map(str, cores))
    return Place(name, f"{host} cores {numbers}", tuple(f"core-{core}" for core in cores))


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _hold(held: contextlib.ExitStack, key: str, alone: bool) -> bool:
    """Take a key with others or alone; a machine that has no such locks gives it to everybody."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    folder = Path(tempfile.gettempdir()) / f"sparks-devices-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return True  # another's: nothing there is ours to open
        file = held.enter_context((folder / key).open("w"))
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
