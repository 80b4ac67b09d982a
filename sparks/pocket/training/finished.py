"""Finished edits as labelled videos: what searches of every kind made of clips of the world.

They come from folders of `sparks bench` and `sparks ablate`. `plan.json` says which clip each task
edits and what it asks for; a folder under `cells/` with a `row.json` is a finished edit. What a
video shows is measured anew, whatever the row says of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from sparks.errors import SparksError
from sparks.media.clip import read_clip
from sparks.pocket import world
from sparks.pocket.tasks import NEVER_TRAINED, Source
from sparks.pocket.training import parallel
from sparks.pocket.training.loop import made_once
from sparks.pocket.training.shown import Shown, each, shown
from sparks.pocket.words import COLOURS, understand

VIDEOS = ("edited.mp4", "baseline.mp4")

T = TypeVar("T")


@dataclass(frozen=True)
class _Task:
    name: str
    source: Source | str  # a clip of the world, or a video file
    prompt: str

    def asked(self) -> world.Scenes | None:
        """The scene that was asked for; None where the world knows no truth of the answer."""
        said = understand(self.prompt)
        if isinstance(self.source, str) or said.action is None:
            return None
        scene = self.source.scene().acting(said.action)
        # Of the object that stands by nothing is measured but that it stays what it is.
        return scene if said.colour == COLOURS[int(scene.colour)] else None


@dataclass(frozen=True)
class _Plan:
    tasks: list[_Task]


@dataclass(frozen=True)
class _Row:
    task: str


@dataclass(frozen=True)
class Finished:
    """Videos with what was asked for, on the CPU.

    Attributes:
        frames: `[N, T, 3, H, W]` bytes.
        scenes: N of them, acting as was asked.
        digest: of all videos.
    """

    frames: Tensor
    scenes: world.Scenes
    digest: str

    def __len__(self) -> int:
        return len(self.frames)

    def shown(self, work: Path, device: torch.device) -> Shown:
        """This process's share of them, measured; what takes a while to see is kept in `work`."""
        rank, size = parallel.rank(), parallel.size()
        number = torch.arange(len(self))
        mine = number % size == rank % len(self)  # of few videos, several have the same
        frames, scenes = self.frames[mine].to(device), self.scenes[mine].to(device)
        kept = made_once(
            work / f"finished-{self.digest}-{rank}-of-{size}.pt",
            lambda: {"kept": shown(frames, scenes, doubted=True).kept},
            device,
        )
        return replace(shown(frames, scenes), **kept)


def read_finished(folders: Sequence[Path]) -> Finished:
    """All finished edits of clips of the world, and the prompt-only ones; each video once.

    Raises:
        SparksError: a folder has none or cannot be read, its tasks are held out, or a video has
            another shape than the world's clips.
    """
    cells = [cell for folder in folders for cell in _cells(folder)]
    videos: dict[bytes, tuple[Tensor, world.Scenes]] = {}
    for name in VIDEOS:
        for folder, asked in cells:
            frames = _frames(folder / name)
            # Solvers share a task's prompt-only edit, and one that found nothing left it at that.
            videos.setdefault(hashlib.sha256(frames.numpy().tobytes()).digest(), (frames, asked))
    return Finished(
        torch.stack([frames for frames, _ in videos.values()]),
        each(torch.cat, *(asked for _, asked in videos.values())),
        hashlib.sha256(b"".join(videos)).hexdigest()[:12],
    )


def _cells(folder: Path) -> list[tuple[Path, world.Scenes]]:
    """Where the finished edits of the world's clips are, and what was asked for."""
    tasks = _read(folder / "plan.json", _Plan).tasks
    for task in tasks:
        if isinstance(task.source, Source) and task.source.seed in NEVER_TRAINED:
            raise SparksError(
                f"{folder} has tasks of {NEVER_TRAINED[task.source.seed]}, which is held out from "
                "training; give edits of other tasks, e.g. of dev40"
            )
    asked = {task.name: task.asked() for task in tasks}
    rows = sorted(folder.glob("cells/*/*/row.json"))
    cells = [(row.parent, asked.get(_read(row, _Row).task)) for row in rows]
    of_the_world = [(cell, scene) for cell, scene in cells if scene is not None]
    if not of_the_world:
        raise SparksError(
            f"{folder} has no finished edit of a clip of the pocket world; give what sparks bench "
            "or sparks ablate made of such tasks, e.g. of dev40"
        )
    return of_the_world


def _read(path: Path, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise SparksError(
            f"cannot read {path}: {error.strerror}; give a folder of sparks bench or sparks ablate"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise SparksError(f"{path}: {where}: {first['msg']}; leave this folder out") from None


def _frames(path: Path) -> Tensor:
    """Of a video, as bytes `[T, 3, H, W]`."""
    clip = read_clip(path, max_frames=world.NUM_FRAMES + 1)
    count, _, height, width = clip.frames.shape
    if (count, height, width, clip.fps) != (world.NUM_FRAMES, world.SIZE, world.SIZE, world.FPS):
        raise SparksError(
            f"{path} has {min(count, world.NUM_FRAMES + 1)} frames of {width}x{height} at "
            f"{float(clip.fps):g} fps; critics learn from {world.NUM_FRAMES} of "
            f"{world.SIZE}x{world.SIZE} at {float(world.FPS):g}: leave its folder out"
        )
    return (255 * clip.frames).round().byte()
