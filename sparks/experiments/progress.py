"""How an experiment goes, from its folder alone: done, running where, failed and why, time left."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparks.claims import BEAT, STALE, Watch, workers
from sparks.errors import SparksError, printable
from sparks.experiments.cells import Cell, load_plan, read_row
from sparks.experiments.work import last_line
from sparks.files import read_bytes

_SHOWN = 20  # lines of each kind


@dataclass
class Running:
    """A worker at a cell.

    Attributes:
        cell: its name.
        where: host and process.
        device: what it computes on.
        seconds: since it took the cell.
        evaluations: so far.
    """

    cell: str
    where: str
    device: str
    seconds: float
    evaluations: int


class Progress:
    """What has ended since the last look; what ended once is not read again.

    Attributes:
        done: rows of finished cells by name.
        failed: last lines of the errors of others.
        open: cells that are neither.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, Cell] = {cell.name: cell for cell in load_plan(folder).cells}
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self._watch = Watch(folder, STALE)
        self._origin = time.monotonic()
        list(self.news())
        self._before = len(self.done) + len(self.failed)

    def news(self) -> Iterator[tuple[str, str]]:
        """Name and outcome of each cell that has ended since."""
        for name, cell in list(self.open.items()):
            if cell.row(self.folder).is_file():
                how = self._done(cell)
            elif cell.error(self.folder).is_file():
                how = self._failed(cell, last_line(self.folder, cell))
            else:
                continue
            del self.open[name]
            yield name, how

    def _done(self, cell: Cell) -> str:
        try:
            row = self.done[cell.name] = read_row(self.folder, cell)
        except SparksError as error:
            return self._failed(cell, str(error))
        answers = [row.get(f"p_yes_{which}") for which in ("baseline", "edited")]
        return "P(yes) " + " -> ".join(f"{a:.3f}" if a is not None else "?" for a in answers)

    def _failed(self, cell: Cell, why: str) -> str:
        self.failed[cell.name] = why
        return f"failed: {why}"

    def running(self) -> list[Running]:
        """The workers that are alive, and at a cell of this folder."""
        said = workers(self.folder).items()
        at_work = [s for name, s in said if s.get("piece") in self.open and self._watch.alive(name)]
        return [
            Running(
                s["piece"],
                f"{s.get('host')}:{s.get('pid')}",
                str(s.get("device", "")),
                float(s.get("seconds", 0)),
                _lines(self.folder, s.get("run")),
            )
            for s in at_work
        ]

    def left(self, at_work: int) -> float | None:
        """Seconds until all have ended, by the pace so far; None while none is known.

        By what has ended since the first look; before anything has, by what finished cells took and
        how many work now.
        """
        since = len(self.done) + len(self.failed) - self._before
        if since > 0:
            return (time.monotonic() - self._origin) / since * len(self.open)
        took = [row["elapsed"] for row in self.done.values() if row.get("elapsed")]
        if not took or not at_work:
            return None
        return sum(took) / len(took) * len(self.open) / at_work


def _lines(folder: Path, run: Any) -> int:
    with contextlib.suppress(OSError, TypeError, ValueError):
        path = (folder / run / "history.jsonl").resolve()
        if path.is_relative_to(folder.resolve()):
            return read_bytes(path).count(b"\n")
    return 0


@contextlib.contextmanager
def told(folder: Path) -> Iterator[None]:
    """Inside, a line on standard error for every cell that ends, whoever runs it."""
    progress = Progress(folder)
    count, ended = len(progress.open) + len(progress.failed), threading.Event()

    def tell() -> None:
        for name, how in progress.news():
            done = count - len(progress.open)
            left = progress.left(1) or 0
            print(
                printable(f"{done}/{count}  {name}  {how}  ({left / 60:.0f} min left)"),
                file=sys.stderr,
                flush=True,
            )

    def keep_telling() -> None:
        pause = 0.5
        while not ended.wait(pause):
            began = time.monotonic()
            tell()
            pause = max(0.5, 20 * (time.monotonic() - began))

    thread = threading.Thread(target=keep_telling, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()


def view(progress: Progress) -> Any:
    """What is known now, for rich."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    list(progress.news())
    running = progress.running()
    total = len(progress.open) + len(progress.done) + len(progress.failed)
    head = f"{len(progress.done)} of {total} done, {len(running)} running"
    head += f", {len(progress.failed)} failed" if progress.failed else ""
    if progress.open:
        left = progress.left(len(running))
        head += ", nobody at work" if not running else ""
        head += f"; about {_time(left)} left" if left is not None and running else ""
    table = Table("running", "where", "on", "for", "evaluations", box=None, pad_edge=False)
    for each in running[:_SHOWN]:
        texts = (each.cell, each.where, each.device, _time(each.seconds), str(each.evaluations))
        table.add_row(*map(escape, map(printable, texts)))
    failures = list(progress.failed.items())
    lines = [printable(f"failed  {name}: {why}") for name, why in failures[:_SHOWN]]
    lines += [f"and {len(failures) - _SHOWN} more failed"] if len(failures) > _SHOWN else []
    return Group(head, *([table] if running else []), *map(escape, lines))


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def watch(folder: Path, seconds: float = BEAT / 5) -> None:
    """Show how an experiment goes until it is over or Ctrl-C; off a terminal, once.

    Raises:
        SparksError: there is none.
    """
    from rich.console import Console
    from rich.live import Live

    console, progress = Console(highlight=False), Progress(folder)
    if not console.is_terminal:
        console.print(view(progress))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(view(progress), console=console) as live:
        while progress.open:
            time.sleep(seconds)
            live.update(view(progress))
