"""The videos that an experiment edits: kept in its folder, so that it can be moved.

A video file of one's own is copied when it is planned and named in `plan.json` by its path and its
digest. The path is never read again: a plan that somebody else wrote reaches nothing outside.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

from sparks.claims import check_inside
from sparks.errors import SparksError
from sparks.experiments.tasks import Task
from sparks.files import replacing


def source(folder: Path, task: Task) -> Path:
    """The video that a task edits."""
    suffix = ".mp4"
    if isinstance(task.source, Path):
        suffix = task.source.suffix if re.fullmatch(r"\.\w+", task.source.suffix) else ""
    return folder / "sources" / f"{task.name}{suffix}"


def bring(folder: Path, task: Task) -> Task:
    """Copy the video file of a task that is planned, if it is not here yet; the task, with digest.

    Raises:
        SparksError: the file is not there, or is another one than was planned under this name.
    """
    if not isinstance(task.source, Path):
        return task  # the world gives the clip again, wherever it is asked for
    path, outside = source(folder, task), task.source
    if task.sha256 is None:
        task = replace(task, sha256=_digest(outside if outside.is_file() else path))
    if not path.exists():
        with replacing(path) as temporary:
            shutil.copyfile(outside, temporary)
    ready(folder, task)
    return task


def check_same(task: Task, earlier: Task) -> None:
    """Refuse a task that is planned again under the name of another.

    Raises:
        SparksError: it asks for something else.
    """
    both = (task, earlier)
    asked = [(each.prompt, each.static_prompt, each.prefix_frames) for each in both]
    worlds = [None if isinstance(each.source, Path) else each.source for each in both]
    if asked[0] != asked[1] or worlds[0] != worlds[1]:
        raise SparksError(
            f"a task {task.name!r} is planned there already, and asks for something else; rename "
            "this one, or give another --output"
        )


def ready(folder: Path, task: Task) -> Path:
    """The video that a task edits, written now if it is a clip of the world.

    Raises:
        SparksError: it is missing, another one than was planned, or a link out of the folder.
    """
    path = source(folder, task)
    check_inside(folder, path)
    if not path.is_file():
        if isinstance(task.source, Path):
            raise SparksError(f"{path} is missing; bring it back, or plan the experiment again")
        path.parent.mkdir(exist_ok=True)
        task.write_source(path.parent)
    if task.sha256 is not None and _digest(path) != task.sha256:
        raise SparksError(f"{path} is not the video that was planned; bring that back")
    return path


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SparksError(f"cannot read {path}: {error.strerror}") from error
