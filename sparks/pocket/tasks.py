"""Editing tasks with ground truth: clips of the world that a prompt asks to do something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sparks.errors import SparksError, shorten
from sparks.pocket.words import ACTIONS, COLOURS, MOVING, SHAPES, phrase, understand

if TYPE_CHECKING:
    from sparks.media.clip import Clip
    from sparks.pocket.world import Scenes

SEED = 20261123  # fixed before the bundled weights were trained; no training stage draws from it
COUNT = 10
LIST_SEED = 20270609  # of `pocket25`; fixed before the training of the bundled weights
LIST_COUNT = 25
LIST = Path(__file__).with_name("pocket25.yaml")
#: The two halves: everything may be tried on the first; the second is for what is published.
DEV_SEED, TEST_SEED = 20280117, 20290423
HALF_COUNT = 40
HALVES = {"dev40": DEV_SEED, "test40": TEST_SEED}
#: Seeds whose clips are for measuring alone, and the lists that are drawn from them.
NEVER_TRAINED = {SEED: "heldout10", LIST_SEED: LIST.stem, TEST_SEED: "test40"}
PREFIX_FRAMES = 5
_MOST_SCENES = 100_000


@dataclass(frozen=True)
class Source:
    """A clip of the world.

    Attributes:
        seed, count, index: the `index`-th of `count` scenes drawn from `seed`.
        action: what its object does.
        silent: whether it is without sound.

    Raises:
        SparksError: there is no such scene.
    """

    seed: int
    count: int
    index: int
    action: str = ACTIONS[0]
    silent: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.seed < 2**63 and 0 <= self.index < self.count <= _MOST_SCENES):
            raise SparksError(
                f"no scene {shorten(self.index)} of {shorten(self.count)} from seed "
                f"{shorten(self.seed)}; give 0 <= index < count <= {_MOST_SCENES} and seed >= 0"
            )
        if self.action not in ACTIONS:
            raise SparksError(f"no action {shorten(self.action)!r}; give {', '.join(ACTIONS)}")

    def scene(self) -> Scenes:
        """The one scene."""
        from sparks.pocket import world

        scenes = world.draw(self.count, self.seed).acting(self.action)
        return scenes[self.index : self.index + 1]

    def clip(self) -> Clip:
        """Straight from the world."""
        from sparks.media.clip import Clip
        from sparks.pocket import world

        scene = self.scene()
        frames = world.render(scene)[0]
        if self.silent:
            return Clip(frames, world.FPS)
        sound = world.sound(scene, seed=self.seed + self.index)[0]
        return Clip(frames, world.FPS, sound, world.SAMPLE_RATE)

    def write(self, path: Path, description: str | None = None) -> None:
        """The clip as an mp4 (h264, aac), with a description among its tags."""
        from sparks.media.clip import write_clip

        write_clip(path, self.clip(), comment=description)


@dataclass(frozen=True)
class PocketTask:
    """What to ask of a clip of the world; see `sparks.experiments.tasks.Task`."""

    name: str
    source: Source
    prompt: str
    static_prompt: str
    prefix_frames: int

    @property
    def action(self) -> str | None:
        """What the prompt asks for."""
        return understand(self.prompt).action


def held_out() -> list[PocketTask]:
    """The ten held-out tasks: the ten actions in turn over ten idle scenes drawn from SEED."""
    return [
        _task(Source(SEED, COUNT, index), shape, colour, MOVING[index % len(MOVING)])
        for index, (shape, colour) in enumerate(_objects(COUNT, SEED))
    ]


def draw_list(count: int = LIST_COUNT, seed: int = LIST_SEED) -> list[PocketTask]:
    """The `count` tasks of a list, drawn from its seed; by default those of `pocket25.yaml`.

    The actions are asked for in turn, of an idle source and of one that does something else by
    turns, the other way round in the next round. One of the first twelve and one of the others are
    silent.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    silent = {int(rng.integers(12)), int(rng.integers(12, count))}
    tasks = []
    for index, (shape, colour) in enumerate(_objects(count, seed)):
        turn, place = divmod(index, len(MOVING))
        action = MOVING[place]
        other = str(rng.choice([each for each in MOVING if each != action]))
        does = other if (turn + place) % 2 else ACTIONS[0]
        source = Source(seed, count, index, does, index in silent)
        tasks.append(_task(source, shape, colour, action))
    return tasks


HELD_OUT = "heldout10"
LISTS: dict[str, Callable[[], list[PocketTask]]] = {
    HELD_OUT: held_out,
    LIST.stem: draw_list,
    **{half: partial(draw_list, HALF_COUNT, seed) for half, seed in HALVES.items()},
}


def default_task() -> PocketTask:
    """What `sparks solve` edits when no video is given: a task of the ten that succeeds."""
    return find_task("03-grow")


def find_task(name: str) -> PocketTask:
    """One of the ten by its name, or one of another list by both names, e.g. `dev40/00-jump`.

    Raises:
        SparksError: there is no such list or task.
    """
    which, _, name = name.rpartition("/")
    if (which or HELD_OUT) not in LISTS:
        raise SparksError(f"task list {which!r} is unknown: choose from {', '.join(LISTS)}")
    tasks = {task.name: task for task in LISTS[which or HELD_OUT]()}
    if name not in tasks:
        raise SparksError(f"task {name!r} is unknown: choose from {', '.join(tasks)}")
    return tasks[name]


def _objects(count: int, seed: int) -> Iterator[tuple[str, str]]:
    from sparks.pocket import world

    scenes = world.draw(count, seed)
    for shape, colour in zip(scenes.shape.tolist(), scenes.colour.tolist(), strict=True):
        yield SHAPES[shape], COLOURS[colour]


def _task(source: Source, shape: str, colour: str, action: str) -> PocketTask:
    return PocketTask(
        name=f"{source.index:02d}-{action.replace('_', '-')}",
        source=source,
        prompt=phrase(colour, shape, action),
        static_prompt=phrase(colour, shape, source.action),
        prefix_frames=PREFIX_FRAMES,
    )
