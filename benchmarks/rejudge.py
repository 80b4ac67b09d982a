"""What the judge that is shipped now says of videos that were made before it.

cells/SETTING/TASK-SEED/judged.json    P(yes) of both videos, and which judge said it
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparks.experiments.cells import load_plan
from sparks.experiments.sources import ready
from sparks.experiments.tasks import Task
from sparks.files import write_text
from sparks.media.clip import read_clip
from sparks.pocket import weights_path
from sparks.runs.cache import Cache
from sparks.runs.judging import Judge
from sparks.runs.prepare import prepare
from sparks.runs.watch import read_json
from sparks.search.executors import Executor, Pieces
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings

Row = dict[str, Any]
VIDEOS = ("baseline", "edited")
_CACHE = Cache()


def judged_again(folder: Path, rows: Sequence[Row], executor: Executor) -> list[Row]:
    """Rows with the present judge's answers about the decoded videos; those without are left out.

    Args:
        folder: of the experiment.
        rows: of its finished edits.
        executor: where the judge is asked.
    """
    folder, digest, plan = folder.absolute(), judge_digest(), load_plan(folder)
    shown = [row for row in rows if all(video.is_file() for video in videos(folder, row["folder"]))]
    if len(shown) < len(rows):
        print(f"{len(rows) - len(shown)} of {len(rows)} edits have no videos and are left out")
    files = {row["folder"]: folder / row["folder"] / "judged.json" for row in shown}
    todo = {home: file for home, file in files.items() if read_json(file).get("judge") != digest}
    if todo:
        print(f"judging {len(todo)} of {len(shown)} edits again", file=sys.stderr, flush=True)
        tasks = {task.name: task for task in plan.tasks}
        cells = {cell.name: (cell.settings, tasks[cell.task]) for cell in plan.cells}
        do = functools.partial(_ask, folder, cells, digest)
        executor.run(Pieces.writing(folder, todo, do))
    return [row | _columns(row, read_json(files[row["folder"]])) for row in shown]


def videos(folder: Path, home: str) -> list[Path]:
    """Of an edit."""
    return [folder / home / f"{name}.mp4" for name in VIDEOS]


def judge_digest() -> str:
    """Of the judge's weights, and of what it is shown."""
    files = [*sorted((weights_path() / "judge").iterdir()), weights_path() / "sparks.yaml"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _ask(folder: Path, cells: Mapping[str, tuple[Settings, Task]], digest: str, home: str) -> None:
    settings, task = cells[home]
    ask = _judge(folder, json.dumps({**settings, "seed": 0}, sort_keys=True), task)
    said = {video.stem: ask(read_clip(video).frames) for video in videos(folder, home)}
    write_text(folder / home / "judged.json", json.dumps({"judge": digest, **said}) + "\n")


@functools.lru_cache(maxsize=4)
def _judge(folder: Path, settings: str, task: Task) -> Judge:
    prepared = prepare(
        merge(json.loads(settings), task.settings(ready(folder, task))), cache=_CACHE
    )
    assert prepared.judge is not None  # pocket has one
    return prepared.judge


def _columns(row: Row, said: Mapping[str, Any]) -> Row:
    """The judge's columns of a row; see `sparks.experiments.score`."""
    agrees = said["edited"] > 0.5
    columns: Row = {f"p_yes_judge_{name}": said[name] for name in VIDEOS}
    columns |= {"judge_agrees": agrees}
    for column, truth in (("judge_right", "happened"), ("judge_right_true", "true")):
        columns[column] = agrees == row[f"{truth}_edited"]
    return columns
