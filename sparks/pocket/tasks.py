"""Editing tasks with ground truth: idle clips that a prompt asks to move."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sparks.errors import SparksError
from sparks.pocket.words import ACTIONS, COLOURS, MOVING, SHAPES, phrase

if TYPE_CHECKING:
    from sparks.media import Clip
    from sparks.pocket.world import Scenes

SEED = 20261123  # fixed before denoiser and critic were trained; no training stage draws from it
COUNT = 10
PREFIX_FRAMES = 5


@dataclass(frozen=True)
class Task:
    """Make the object of an idle clip do something.

    Attributes:
        name: unique, e.g. `03-grow`.
        index: which of the scenes drawn from SEED.
        action: what is asked for, one of `words.MOVING`.
        prompt: the edit prompt; `static_prompt` describes the source.
        prefix_frames: K, the frames to keep.
    """

    name: str
    index: int
    action: str
    prompt: str
    static_prompt: str
    prefix_frames: int = PREFIX_FRAMES

    def scene(self) -> Scenes:
        from sparks.pocket import world

        return world.draw(COUNT, SEED).acting("stay")[self.index : self.index + 1]

    def clip(self) -> Clip:
        """The source, straight from the world."""
        from sparks.media import Clip
        from sparks.pocket import world

        scene = self.scene()
        sound = world.sound(scene, seed=SEED + self.index)[0]
        return Clip(world.render(scene)[0], world.FPS, sound, world.SAMPLE_RATE)

    def write_source(self, folder: Path) -> Path:
        """The source as an mp4 (h264 and aac) in `folder`."""
        from sparks.media import write_clip

        path = folder / f"{self.name}.mp4"
        write_clip(path, self.clip(), comment=self.static_prompt)
        return path


def tasks() -> list[Task]:
    """The ten held-out tasks: six actions in turn over ten scenes drawn from SEED."""
    from sparks.pocket import world

    scenes = world.draw(COUNT, SEED)
    return [
        _task(i, SHAPES[shape], COLOURS[colour], MOVING[i % len(MOVING)])
        for i, (shape, colour) in enumerate(
            zip(scenes.shape.tolist(), scenes.colour.tolist(), strict=True)
        )
    ]


def default_task() -> Task:
    """What `sparks solve` edits when no video is given: a task of the ten that succeeds."""
    return find_task("04-spin")


def find_task(name: str) -> Task:
    """A task by its name.

    Raises:
        SparksError: there is no such task.
    """
    known = {task.name: task for task in tasks()}
    if name not in known:
        raise SparksError(f"task {name!r} is unknown: choose from {', '.join(known)}")
    return known[name]


def _task(index: int, shape: str, colour: str, action: str) -> Task:
    return Task(
        name=f"{index:02d}-{action.replace('_', '-')}",
        index=index,
        action=action,
        prompt=phrase(colour, shape, action),
        static_prompt=phrase(colour, shape, ACTIONS[0]),
    )
