"""One cell: taken up where an earlier worker left it, edited, measured, published once.

What is made of a cell lies with its claim until it is finished, then takes its place in one step:
the first to publish wins, and whoever lost the claim meanwhile throws away what it made.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparks.claims import Claim
from sparks.errors import SparksError
from sparks.experiments.cells import Cell
from sparks.experiments.devices import Place
from sparks.experiments.sources import ready
from sparks.experiments.tasks import Task
from sparks.files import read_bytes, read_json, write_text
from sparks.locks import LOCKS
from sparks.runs.cache import Cache
from sparks.runs.folder import discard, is_run
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings

if TYPE_CHECKING:
    from sparks.runs.prepare import Prepared
    from sparks.runs.result import Result

log = logging.getLogger("sparks")

IN_VAIN = 3  # workers that died over a cell, one after another, without an evaluation more

_CACHE = Cache()  # what the cells of one process load once


def run_cell(
    folder: Path, tasks: Mapping[str, Task], cell: Cell, claim: Claim, place: Place
) -> bool:
    """Edit, measure and publish, or publish what failed; False if another was first."""
    try:
        if _take_up(folder, cell, claim):
            return False
        began = time.perf_counter()
        try:
            row = _made(folder, tasks[cell.task], cell, claim, place)
        except Exception as error:  # one cell in hundreds must not take the others with it
            text = str(error) if isinstance(error, SparksError) else traceback.format_exc()
            return _publish(folder, cell, claim, "error.txt", text + "\n")
        row["elapsed"] = round(time.perf_counter() - began, 3)
        return _publish(folder, cell, claim, "row.json", json.dumps(row, indent=1) + "\n")
    except BaseException:
        claim.give_back()
        raise


def _take_up(folder: Path, cell: Cell, claim: Claim) -> bool:
    """Bring what is there of a cell to the claim's own folder; whether it is all there already."""
    target, home, ends = folder / cell.name, claim.home, ("row.json", "error.txt")
    if any((target / name).is_file() for name in ends):
        claim.end()
        return True
    if target.is_dir():
        os.rename(target, home)
        if any((home / name).is_file() for name in ends):  # published between the two looks
            os.rename(home, target)
            claim.end()
            return True
    elif left := [place for place, _ in claim.earlier if place.is_dir()]:
        _copy(left[-1], home)
    if cell.timed and not (home / "result.json").is_file():
        discard(home)  # half a search is no use: its seconds would not be those of one
    return False


def _copy(left: Path, home: Path) -> None:
    """What an earlier worker made; the history last, as one that still lives only adds to it."""
    home.mkdir()
    for path in sorted(left.iterdir(), key=lambda path: path.name == "history.jsonl"):
        if path.is_file() and path.name not in LOCKS and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(path, home)


def _made(folder: Path, task: Task, cell: Cell, claim: Claim, place: Place) -> dict[str, Any]:
    """The row of a cell, worked out."""
    if (died := _in_vain(claim)) >= IN_VAIN:
        raise SparksError(
            f"its worker died {died} times at this point; is memory short? Run it again with fewer "
            "workers on a machine, or smaller settings"
        )
    settings = merge(cell.settings, task.settings(ready(folder, task)))
    row = _edit(claim.home, task, settings | _matched(folder, cell), place)
    row |= _signed(claim.home / "result.json", {"run_dir": str(folder / cell.name)})
    return cell.columns | {"prompt": task.prompt} | row


def _in_vain(claim: Claim) -> int:
    """How many workers in a row, up to now, died and left nothing more than they had found."""
    counts = [_evaluations(place) for place, _ in claim.earlier]
    died = 0
    for index, (_, given_back) in reversed(list(enumerate(claim.earlier))):
        if given_back or counts[index] > (counts[index - 1] if index else 0):
            break
        died += 1
    return died


def _evaluations(run: Path) -> int:
    try:
        return read_bytes(run / "history.jsonl").count(b"\n")
    except OSError:
        return 0


def _edit(home: Path, task: Task, settings: Settings, place: Place) -> dict[str, Any]:
    from sparks.experiments.score import score
    from sparks.runs.prepare import prepare

    result = home / "result.json"
    if result.is_file():
        return score(home, task, prepare(settings, cache=_CACHE))
    edited, prepared = _performed(home, settings)
    if edited.stopped_by == "interrupt":
        result.unlink(missing_ok=True)
        raise KeyboardInterrupt
    _signed(result, {"device": place.name, "where": place.where})
    return score(home, task, prepared)


def _performed(home: Path, settings: Settings) -> tuple[Result, Prepared]:
    """The edit gone on with, or begun anew if what is there does not fit any more."""
    from sparks.runs.edit import perform

    more: dict[str, Any] = {"cache": _CACHE, "pictures": False, "by_hand": False}
    if is_run(home):
        try:
            return perform(settings, home, **more, begun=True)
        except SparksError as error:
            log.warning("%s is begun anew: %s", home, error)
        discard(home)
    return perform(settings, home, **more)


def _matched(folder: Path, cell: Cell) -> Settings:
    """The budget that the reference cell was measured to need."""
    if cell.reference is None:
        return {}
    file = folder / cell.reference / "row.json"
    if not file.is_file():
        raise SparksError(f"its reference {cell.reference} failed")
    row = read_json(file)
    spent = row.get(str(cell.match)) if isinstance(row, dict) else None
    if type(spent) not in (int, float):
        raise SparksError(f"{file} does not say its {cell.match}; remove it and run again")
    return {"budget": f"{cell.match}={spent:.6g}"}


def _signed(result: Path, more: Mapping[str, str]) -> dict[str, Any]:
    """Add what only who runs it knows to a result; what it was computed on, if that is known."""
    content = read_json(result)
    if content | more != content:
        content |= more
        write_text(result, json.dumps(content, indent=2) + "\n")
    return {name: content.get(name) for name in ("device", "where")}


def _publish(folder: Path, cell: Cell, claim: Claim, name: str, text: str) -> bool:
    """Put what was made in its place, if that is still ours to do."""
    target = folder / cell.name
    write_text(claim.home / name, text)
    try:
        if not claim.holds:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(claim.home, target)
        except OSError:
            if cell.row(folder).is_file():  # one that had lost its claim was quicker
                return False
            os.rename(target, claim.home.with_name(f"{claim.number}.aside"))
            os.rename(claim.home, target)
        return True
    finally:
        claim.end()
