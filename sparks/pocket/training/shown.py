"""What critics are shown: honest and deceptive clips, and what the measurement says of them.

Clips and their measurement cost more than a critic's look at them, so they are made for an era of
many steps at once, in which each is drawn a few times, with other questions about it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from sparks.pocket import measure, world
from sparks.pocket.likeness import likeness
from sparks.pocket.training import parallel
from sparks.pocket.training.codec import decode_video, encode_video
from sparks.pocket.training.fast import autocast
from sparks.pocket.training.loop import Course, generator
from sparks.pocket.words import ACTIONS

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video

DECEPTIONS = ("none", "teleport", "dissolve", "weak", "noise", "frozen")
Asked: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]  # colour, shape, action, wording
WEAK = (0.15, 0.4)  # share of the motion that clips too weak to count keep
ERA = 250  # steps
DRAWN = 12  # times that a clip of an era is drawn, about
CHUNK = 128  # clips measured at once


@dataclass(frozen=True)
class Shown:
    """Clips kept as bytes, with what the measurement says of them."""

    frames: Tensor  # [M, T, 3, H, W] uint8
    scenes: world.Scenes
    tracks: measure.Track
    strengths: Tensor  # [M, actions]
    kept: Tensor  # [M] bool: the object looks like itself throughout

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: Tensor) -> Shown:
        return each(lambda parts: parts[0][rows], self)

    @property
    def known(self) -> Shown:
        """What is known of the clips, without their frames."""
        return replace(self, frames=self.frames[:, :0])

    def join(self, other: Shown) -> Shown:
        return each(torch.cat, self, other)


def shown(frames: Tensor, scenes: world.Scenes, *, doubted: bool = False) -> Shown:
    """Measure `frames [M, T, 3, H, W]`, in [0, 1] or bytes, of the scenes' objects.

    Args:
        doubted: whether the objects may look like others, as in edits, which takes a while to see.
    """
    clips = frames if frames.dtype == torch.uint8 else (255 * frames).round().byte()
    rows = torch.arange(len(clips), device=clips.device).split(CHUNK)
    tracks, same = zip(*(_seen(clips[part], scenes[part], doubted) for part in rows), strict=True)
    track = each(torch.cat, *tracks)
    return Shown(clips, scenes, track, measure.strengths(track), torch.cat(same))


def _seen(clips: Tensor, scenes: world.Scenes, doubted: bool) -> tuple[measure.Track, Tensor]:
    """The path of each object, and whether it stays what it is."""
    frames = clips.float() / 255
    track = measure.track(frames, scenes.colour)
    if doubted:
        return track, likeness(frames, scenes, track).kept
    return track, torch.ones(len(clips), dtype=torch.bool, device=clips.device)


class Reel:
    """Clips to draw batches from, made anew every ERA steps; the same for the same step.

    Args:
        course: its batches are drawn from the reel; half as many clips come from `pool`.
        pool: edits.
        weak: see `deceive`.
    """

    def __init__(
        self,
        vae: AutoencoderKLLTX2Video,
        course: Course,
        pool: Shown | None = None,
        weak: tuple[float, float] = WEAK,
    ) -> None:
        self._batch, self._device, seed = course.batch, course.device, course.seed
        self._make = lambda number: watch(vae, self._batch, seed, number, self._device, weak)
        self._batches = -(-min(ERA, course.steps) // DRAWN)
        self._pool = None if pool is None else camera(pool, generator(seed, self._device, 4))
        self._era = -1
        self._clips: Shown | None = None

    def draw(self, step: int) -> Shown:
        """The clips of this step, varied."""
        rng = generator(step, self._device, 6)
        clips = _pick(self._clips_of(step // (ERA * parallel.size())), self._batch, rng)
        if self._pool is not None:
            clips = clips.join(_pick(self._pool, self._batch // 2, rng))
        return varied(clips, rng)

    def _clips_of(self, era: int) -> Shown:
        if self._clips is None or era != self._era:
            self._clips = None  # room for the new ones
            first = (era * parallel.size() + parallel.rank()) * ERA
            made = [shown(*self._make(first + number)) for number in range(self._batches)]
            clips = each(torch.cat, *made)
            self._era, self._clips = era, camera(clips, generator(first, self._device, 4))
        return self._clips


def varied(clips: Shown, rng: torch.Generator) -> Shown:
    """The same clips in other colours, half of them mirrored, with what is then known of them.

    The world's colours are nearly closed under exchanging red, green and blue, and the world under
    mirroring, but for a mouth, which opens to the right.
    """
    device, count = clips.frames.device, len(clips)
    channels = torch.rand(count, 3, generator=rng, device=device).argsort(1)
    mirrored = torch.rand(count, generator=rng, device=device) < 0.5
    mirrored &= clips.scenes.action != ACTIONS.index("open")
    every = torch.arange(count, device=device)[:, None]
    frames = clips.frames[every, :, channels].transpose(1, 2)
    frames = torch.where(mirrored[:, None, None, None, None], frames.flip(-1), frames)
    scenes, tracks = clips.scenes, clips.tracks
    left, right = (ACTIONS.index(action) for action in ("slide_left", "slide_right"))
    swapped = torch.arange(len(ACTIONS), device=device)
    swapped[left], swapped[right] = right, left
    across, along = mirrored[:, None], torch.tensor([-1.0, 1.0, 1.0], device=device)
    place = scenes.other_place * torch.where(across, along, 1.0)
    place[:, 0] += (mirrored & (scenes.other_place[:, 2] > 0)).float()
    return Shown(
        frames,
        replace(
            scenes,
            action=torch.where(mirrored, swapped[scenes.action], scenes.action),
            colour=_recoloured(scenes.colour, channels),
            other_colour=_recoloured(scenes.other_colour, channels),
            other_place=place,
            x=torch.where(mirrored, 1 - scenes.x, scenes.x),
        ),
        replace(
            tracks,
            x=torch.where(across, 1 - tracks.x, tracks.x),
            angle=torch.where(across, -tracks.angle, tracks.angle),
        ),
        torch.where(across, clips.strengths[:, swapped], clips.strengths),
        clips.kept,
    )


def _recoloured(colour: Tensor, channels: Tensor) -> Tensor:
    """The world's colour that is nearest to `colour [B]` with exchanged `channels [B, 3]`."""
    paints = world.RGB.to(colour.device)
    return torch.cdist(paints[colour].gather(1, channels), paints).argmin(1)


def camera(clips: Shown, rng: torch.Generator) -> Shown:
    """A little noise and gain, as any codec or camera adds; not to be measured again."""

    def taken(frames: Tensor) -> Tensor:
        shape = (len(frames), 1, 1, 1, 1)
        level = 0.04 * torch.rand(shape, generator=rng, device=frames.device)
        gain = 0.95 + 0.1 * torch.rand(shape, generator=rng, device=frames.device)
        noise = torch.randn(frames.shape, generator=rng, device=frames.device)
        return (gain * frames + 255 * level * noise).round().clamp(0, 255).byte()

    return replace(clips, frames=torch.cat([taken(part) for part in clips.frames.split(CHUNK)]))


def _pick(among: Shown, count: int, rng: torch.Generator) -> Shown:
    return among[torch.randint(len(among), (count,), generator=rng, device=among.frames.device)]


def each(do: Any, *parts: Any) -> Any:
    """Do it to the tensors of dataclasses of one kind, field by field, however deep."""
    if isinstance(parts[0], Tensor):
        return do(parts)
    columns = (tuple(getattr(part, field.name) for part in parts) for field in fields(parts[0]))
    return type(parts[0])(*(each(do, *column) for column in columns))


@torch.no_grad()
def watch(
    vae: AutoencoderKLLTX2Video,
    batch: int,
    seed: int,
    step: int,
    device: torch.device,
    weak: tuple[float, float] = WEAK,
) -> tuple[Tensor, world.Scenes]:
    """Honest and deceptive clips, half of them through the codec with a noisy latent."""
    scenes = world.draw(batch, seed * 7919 + step).to(device)
    rng = generator(step, device, 5)
    bounds = [round(batch * share) for share in (0.0, 0.45, 0.57, 0.69, 0.81, 0.95, 1.0)]
    parts = [scenes[slice(*ends)] for ends in itertools.pairwise(bounds)]
    kinds = zip(parts, DECEPTIONS, strict=True)
    frames = torch.cat([deceive(part, kind, rng, weak) for part, kind in kinds])
    with autocast(device):
        latent = encode_video(vae, frames[::2])
    level = 0.5 * torch.rand(len(latent), 1, 1, 1, 1, generator=rng, device=device) ** 2
    noise = torch.randn(latent.shape, generator=rng, device=device)
    with autocast(device):
        frames[::2] = decode_video(vae, latent + level * noise)
    return frames, scenes


def deceive(
    scenes: world.Scenes,
    kind: str,
    rng: torch.Generator,
    weak: tuple[float, float] = WEAK,
) -> Tensor:
    """Frames of the scenes with a flaw that a careful judge must notice (`none`: without).

    Args:
        weak: bounds of the share of the motion that the kind `weak` leaves.
    """
    device = scenes.x.device
    state = world.motion(scenes, world.frame_times(device))
    frame = torch.arange(world.NUM_FRAMES, device=device)
    crest = _crest(scenes)
    peak = crest < 1
    length = world.lasting(scenes)
    moment = (scenes.start + length * crest) * float(world.FPS)
    last = moment.long().clamp(max=world.NUM_FRAMES - 1)
    late = state[torch.arange(len(scenes), device=device), last]
    cut = (scenes.start + 0.5 * length) * float(world.FPS)
    if kind == "teleport":
        gone = (frame[None] >= cut[:, None])[..., None]
        back = peak[:, None, None] & (frame[None] >= cut[:, None] + 5)[..., None]
        state = _posed(state, torch.where(gone & ~back, late[:, None], state[:, :1]))
    if kind == "weak":
        share = torch.rand(len(scenes), 1, 1, generator=rng, device=device)
        share = weak[0] + (weak[1] - weak[0]) * share
        state = _posed(state, state[:, :1] + share * (state - state[:, :1]))
    frames = world.paint(scenes, state)
    if kind == "dissolve":
        still = world.paint(scenes, _posed(state, state[:, :1]))
        moved = world.paint(scenes, _posed(state, late[:, None]))
        fade = ((frame[None] - cut[:, None]) / 6 + 0.5).clamp(0, 1)
        fade = torch.where(peak[:, None], 1 - (2 * fade - 1).abs(), fade)[..., None, None, None]
        frames = (1 - fade) * still + fade * moved
    if kind == "noise":
        level = 0.1 + 0.4 * torch.rand(len(scenes), 1, 1, 1, 1, generator=rng, device=device)
        noise = torch.randn(frames.shape, generator=rng, device=device)
        frames = (frames + level * noise).clamp(0, 1)
    if kind == "frozen":
        frames = frames[:, :1].expand_as(frames)
    return frames


def _crest(scenes: world.Scenes) -> Tensor:
    """At what share of its length each action is about farthest from rest; else 1.

    A blink is at rest there: it does nothing under a teleport or a dissolve.
    """
    turns, crest = scenes.turns, torch.ones_like(scenes.x)
    returning = {
        "jump": crest / 2,
        "open": 0.5 / turns,
        "wave": 0.5 / (2 + turns),
        "jump_spin": crest / 4,
    }
    for action, share in returning.items():
        crest = torch.where(scenes.action == ACTIONS.index(action), share, crest)
    return crest


def _posed(state: Tensor, pose: Tensor) -> Tensor:
    """The object as in `pose`, the background as it is: whatever deceives, that goes on."""
    return torch.cat([pose[..., :-1].expand_as(state[..., :-1]), state[..., -1:]], dim=-1)
