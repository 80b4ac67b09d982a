"""A search seen from another terminal, from its run directory alone."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sparks import files
from sparks.errors import SparksError, printable
from sparks.locks import locked
from sparks.runs.progress import table
from sparks.runs.result import read_result
from sparks.search.history import HistoryRow, column, read_rows, to_evaluation
from sparks.terminal import shows

_BLOCKS, _PLAIN = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_WIDTH, _HEIGHT = 60, 5


def watch(run: Path, seconds: float = 1.0) -> None:
    """Show how the search of a run goes, until it is over or Ctrl-C; off a terminal, once.

    Raises:
        SparksError: there is no run.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(view(run))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(view(run), console=console) as live:
        while not over(run):
            time.sleep(seconds)
            live.update(view(run))


def over(run: Path) -> bool:
    """Whether there is a result and nothing goes on after it, whatever the files' times say."""
    if not (run / "result.json").exists():
        return False
    if read_result(read_json(run / "result.json"), run / "result.json").finished:
        return True
    try:
        with locked(run) as free:  # it was stopped, and may have been taken up again
            return free
    except OSError:  # nothing can be written there
        return True


def view(run: Path) -> Any:
    """What is known now, for rich: the prompt, numbers of start, now and best, two curves.

    Raises:
        SparksError: there is no run.
    """
    from rich.console import Group
    from rich.text import Text

    rows, facts = history(run), read_json(run / "run.json")
    title = Text(printable(str(facts.get("prompt") or run)), style="bold")
    if not rows:
        return Group(title, "no evaluation is finished yet")
    nowhere = torch.empty(0)
    best = [row for row in rows if row["best"]][-1:] or rows[:1]
    start, now, top = (to_evaluation(row, nowhere) for row in (rows[0], rows[-1], best[0]))
    ago = time.time() - (run / "history.jsonl").stat().st_mtime
    state = "finished" if over(run) else f"the last one {ago:.0f} s ago"
    spent = ", ".join(
        f"{rows[-1]['cost'].get(name, 0):.0f} {unit}"
        for name, unit in {"qwen_calls": "critic calls", "wall_clock": "s"}.items()
    )
    curves = [
        f"{label} {_range(values)}\n{chart(values, _WIDTH, _HEIGHT)}"
        for label, values in (("total", column(rows, "total")), ("P(yes)", column(rows, "p_yes")))
    ]
    return Group(
        title, f"{len(rows)} evaluations, {spent}; {state}", table(start, now, top), *curves
    )


def history(run: Path) -> list[HistoryRow]:
    """The evaluations so far.

    Raises:
        SparksError: there is no run, or its history cannot be read.
    """
    try:
        return read_rows(run / "history.jsonl")[0]
    except OSError as error:
        raise SparksError(f"no run at {run} ({error.strerror}); name a run directory") from error


def read_json(path: Path) -> dict[str, Any]:
    """What a file of a run holds, nothing if it is not there (yet)."""
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def chart(values: Sequence[float], width: int, height: int) -> str:
    """`height` lines of blocks: a column for each value, or the last of several; NaN is a gap."""
    count = min(len(values), width)
    shown = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    real = [value for value in values if math.isfinite(value)] or [0.0]
    low, span = min(real), max(real) - min(real) or 1.0
    levels = [
        1 + round((value - low) / span * (8 * height - 1)) if math.isfinite(value) else 0
        for value in shown
    ]
    blocks = _BLOCKS if shows(_BLOCKS) else _PLAIN
    return "\n".join(
        "".join(blocks[min(8, max(0, level - 8 * line))] for level in levels)
        for line in reversed(range(height))
    )


def _range(values: Sequence[float]) -> str:
    real = [value for value in values if math.isfinite(value)]
    return f"{min(real):.3g} to {max(real):.3g}" if real else "no number"
