"""Lists of edits to measure on: the bundled ones by name, or a YAML file of one's own videos.

tasks:
  - name: cat                # unique; names a folder
    source: cat.mp4          # relative to the file
    prompt: the cat jumps
    static_prompt: the cat sits still
    prefix_frames: 5
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from sparks.errors import SparksError
from sparks.pocket.tasks import Source
from sparks.settings.yaml import read_settings

Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]  # of a folder and of files in others


@dataclass(frozen=True)
class Task:
    """One edit to try.

    Attributes:
        name: unique in its list, e.g. `03-grow`.
        source: a clip of the pocket world, for which there is a ground truth, or a video file.
        prompt: the edit prompt; `static_prompt` describes the source.
        prefix_frames: K, the frames to keep; None leaves it to the settings.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Name
    source: Source | Path
    prompt: str
    static_prompt: str | None = None
    prefix_frames: int | None = None

    @property
    def action(self) -> str | None:
        """What the prompt asks for, one of `sparks.pocket.words.ACTIONS`."""
        from sparks.pocket.words import understand

        return understand(self.prompt).action

    def write_source(self, folder: Path) -> Path:
        """The source as a video file: the user's own, or an mp4 (h264, aac) in `folder`."""
        if isinstance(self.source, Path):
            return self.source
        from sparks.media import write_clip

        path = folder / f"{self.name}.mp4"
        write_clip(path, self.source.clip(), comment=self.static_prompt)
        return path

    def settings(self, video: Path) -> dict[str, Any]:
        """The settings of `sparks.config.Config` that belong to the task."""
        known = {
            "prompt": self.prompt,
            "static_prompt": self.static_prompt,
            "prefix_frames": self.prefix_frames,
        }
        return {"video": str(video)} | {k: v for k, v in known.items() if v is not None}


def task_list(which: str) -> list[Task]:
    """The tasks of a bundled list, a YAML file, or a folder laid out as by the paper's code.

    Raises:
        SparksError: no such list or file, or an entry of another form.
    """
    if which == "heldout10":
        from sparks.pocket.tasks import tasks

        return tasks()
    if which in ("pocket12", "pocket25"):
        known = _read(Path(__file__).parent / "pocket" / "pocket25.yaml")
        return known[:12] if which == "pocket12" else known
    if Path(which).is_dir():
        from sparks.authors import read_scenarios

        return read_scenarios(Path(which))
    if not Path(which).is_file():
        raise SparksError(f"no tasks {which!r}; give {', '.join(NAMES)} or a YAML file")
    return _read(Path(which))


NAMES = ("pocket12", "pocket25", "heldout10")
_ENTRIES = TypeAdapter(list[Task])


def _read(path: Path) -> list[Task]:
    try:
        tasks = _ENTRIES.validate_python(read_settings(path).get("tasks"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["tasks", *map(str, first["loc"])])
        raise SparksError(f"{path}: {where}={first['input']!r}: {first['msg']}") from None
    names = [task.name for task in tasks]
    if len(set(names)) < len(names) or not names:
        twice = next((name for name in names if names.count(name) > 1), None)
        raise SparksError(f"{path}: " + (f"two tasks named {twice!r}" if twice else "no tasks"))
    return [_anchored(task, path.parent) for task in tasks]


def _anchored(task: Task, folder: Path) -> Task:
    return replace(task, source=folder / task.source) if isinstance(task.source, Path) else task
