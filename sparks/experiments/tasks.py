"""Lists of edits to measure on: the bundled ones by name, or a YAML file of one's own videos.

seed: 7                    # optional: the first of the noise seeds that go with the list
tasks:
  - name: cat                # unique; names a folder
    source: cat.mp4          # relative to the file
    prompt: the cat jumps
    static_prompt: the cat sits still
    prefix_frames: 5
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sparks.errors import SparksError
from sparks.files import at_home
from sparks.pocket.tasks import LIST, PocketTask, Source, held_out
from sparks.settings.authors import MARK, translate
from sparks.settings.kinds import check_kinds
from sparks.settings.yaml import read_raw, read_settings

log = logging.getLogger("sparks")

Name = Annotated[
    str, Field(pattern=r"^\w[\w.-]*$", max_length=100)
]  # of a folder and of files in others


@dataclass(frozen=True)
class Task:
    """One edit to try.

    Attributes:
        name: unique in its list, e.g. `03-grow`.
        source: a clip of the pocket world, for which there is a ground truth, or a video file.
        prompt: the edit prompt; `static_prompt` describes the source.
        prefix_frames: K, the frames to keep; None leaves it to the settings.
        sha256: of a video file; it is known of all that are planned.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Name
    source: Source | Path
    prompt: Annotated[str, Field(min_length=1)]
    static_prompt: str | None = None
    prefix_frames: Annotated[int, Field(ge=0)] | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, task: PocketTask) -> Task:
        """One of the world's own."""
        return cls(**vars(task))

    @property
    def action(self) -> str | None:
        """What the prompt asks for, one of `sparks.pocket.words.ACTIONS`."""
        from sparks.pocket.words import understand

        return understand(self.prompt).action

    def write_source(self, folder: Path) -> Path:
        """The source as a video file: the user's own, or an mp4 (h264, aac) in `folder`."""
        if isinstance(self.source, Path):
            return self.source
        path = folder / f"{self.name}.mp4"
        self.source.write(path, self.static_prompt)
        return path

    def settings(self, video: Path) -> dict[str, Any]:
        """The settings of `sparks.settings.schema.Config` that belong to the task."""
        given = {
            "prompt": self.prompt,
            "static_prompt": self.static_prompt,
            "prefix_frames": self.prefix_frames,
        }
        return {"video": str(video)} | {k: v for k, v in given.items() if v is not None}


def task_list(which: str) -> list[Task]:
    """The tasks of a bundled list, a YAML file, or a folder laid out as by the paper's code.

    Raises:
        SparksError: no such list or file, or an entry of another form.
    """
    if which == "heldout10":
        return list(map(Task.of, held_out()))
    if which in _BUNDLED:
        path, count = _BUNDLED[which]
        return _read(path)[:count]
    if Path(which).is_dir():
        return read_scenarios(Path(which))
    if not Path(which).is_file():
        raise SparksError(f"no tasks {which!r}; give {', '.join(NAMES)} or a YAML file")
    return _read(Path(which))


def first_seed(which: str) -> int | None:
    """The first noise seed that goes with a list; None where the list does not say.

    Raises:
        SparksError: what the file says is no seed.
    """
    path = _BUNDLED[which][0] if which in _BUNDLED else Path(which)
    seed = read_settings(path).get("seed") if path.is_file() else None
    if seed is not None and (type(seed) is not int or seed < 0):
        raise SparksError(f"{path}: seed={seed!r} is no seed; give a whole number from 0")
    return seed


#: Name -> the file of a bundled list, and how many of its tasks. The first ten of a half are one of
#: each action; seconds are matched on the first twelve.
_BUNDLED = {
    f"{stem}{count}": (LIST.with_name(f"{stem}{whole}.yaml"), count)
    for stem, whole, counts in (
        ("pocket", 25, (12, 25)),
        ("dev", 40, (10, 20, 40)),
        ("test", 40, (10, 12, 40)),
    )
    for count in counts
}
NAMES = (*_BUNDLED, "heldout10")
_ENTRIES = TypeAdapter(list[Task])


def _read(path: Path) -> list[Task]:
    entries = read_settings(path).get("tasks")
    try:
        tasks = _ENTRIES.validate_python(entries)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["tasks", *map(str, first["loc"])])
        raise SparksError(f"{path}: {where}={first['input']!r}: {first['msg']}") from None
    except SparksError as error:
        raise SparksError(f"{path}: {error}") from None
    check_kinds(entries, tasks, f"{path}: tasks")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names) or not names:
        twice = next((name for name in names if names.count(name) > 1), None)
        raise SparksError(f"{path}: " + (f"two tasks named {twice!r}" if twice else "no tasks"))
    return [_anchored(task, path.parent) for task in tasks]


def _anchored(task: Task, folder: Path) -> Task:
    if not isinstance(task.source, Path):
        return task
    return replace(task, source=folder / at_home(str(task.source)))


def read_scenarios(folder: Path) -> list[Task]:
    """A task for each of their files in a folder, in the order of their names.

    Only source, prompts and K are a task's; a warning says so. A source is looked for beside the
    file and in every folder above, as theirs are written from the root of their repository.

    Raises:
        SparksError: there is none, or a file lacks a prompt or its source.
    """
    tasks = []
    for path in sorted(folder.glob("*.yaml")):
        theirs = read_raw(path)
        if isinstance(theirs, dict) and MARK in theirs:
            ours = translate(theirs)
            source = _scenario_source(path, str(theirs.get("src_video", "")))
            prefix = ours.get("prefix_frames")
            tasks.append(Task(path.stem, source, ours["prompt"], ours.get("static_prompt"), prefix))
    if not tasks:
        raise SparksError(f"no experiments in {folder}: no YAML file there has {MARK!r}")
    log.warning(
        "%s: source, prompts and retake_start_frames of %d experiments are taken, all else is as "
        "--config and --set say",
        *(folder, len(tasks)),
    )
    return tasks


def _scenario_source(path: Path, video: str) -> Path:
    for folder in path.absolute().parents:
        if video and (folder / video).is_file():
            return folder / video
    raise SparksError(f"{path}: src_video={video!r} is not beside it or in a folder above")
