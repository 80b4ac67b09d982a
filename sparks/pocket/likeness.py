"""Does the object look like itself? Frames against the rendering of it at its measured pose.

`sparks.pocket.measure` follows a colour and knows nothing of shapes: a cross that turns into a ball
and back has turned, by its measure. Here the shape is known, the pose is what was measured, refined
until the rendering fits best, and what remains of the difference says how much of the frame is that
object: 1 is all of it, 0 no more than an empty room. No other shape may explain a frame better.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.pocket import world
from sparks.pocket.measure import PRESENT, Track
from sparks.pocket.words import SHAPES

WINDOW = 52  # pixels on the side of what is looked at, around the object
REACH = 1.35  # of the radius: what is farther from the centre is the room's, not the object's
STEPS = 12  # of the refinement
UNITS = (0.012, 0.012, 0.05, 0.15, 0.08, 0.08)  # of a step: place (2), scale, angle, sight, mouth
MARGIN = 0.05  # by which another shape must explain a frame better to be what is seen
LEAST = 0.45  # likeness under which it is nothing of its kind: just below the codec's own worst
SLIPS = 2  # frames in which that may be otherwise: one is 0.08 s
BESIDE = 0.6  # least likeness of an object that stands by
#: Radius over that of the disc of the same area.
STOUTNESS = (1.0, 1.009, 1.253, 1.074, 1.283)


@dataclass(frozen=True)
class Likeness:
    """What was seen of B clips.

    Attributes:
        own: `[B, T]`, of the object's own shape; NaN where it is hardly there.
        other: `[B, T]`, the best of the other shapes.
        beside: `[B, T]`, of the object that stands by; NaN where there is none, or it is hidden.
        moving: `[B, T]` bool, whether the object is away from its first pose.
    """

    own: Tensor
    other: Tensor
    beside: Tensor
    moving: Tensor

    @property
    def kept(self) -> Tensor:
        """`[B]` bool: the object, and the one beside it, look like themselves throughout."""
        lost = (self.own < LEAST) | (self.own + MARGIN < self.other)
        return (lost.sum(1) <= SLIPS) & ((self.beside < BESIDE).sum(1) <= SLIPS)

    @property
    def sharpness(self) -> Tensor:
        """`[B]`: mean likeness in motion; of all frames where nothing moves."""
        some = self.moving.any(1, keepdim=True)
        counted = torch.where(self.moving | ~some, self.own, torch.nan)
        return counted.nanmean(1)


def likeness(frames: Tensor, scenes: world.Scenes, seen: Track) -> Likeness:
    """Of `frames [B, T, 3, H, W]` whose objects are those of `scenes`, followed as `seen`."""
    order = scenes.shape.argsort(stable=True)
    groups = order.split(scenes.shape.bincount(minlength=len(SHAPES)).tolist())  # a shape each
    parts = [
        _likeness(frames[rows], scenes[rows], Track(**{k: v[rows] for k, v in vars(seen).items()}))
        for rows in groups
        if len(rows)
    ]
    back = order.argsort()
    return Likeness(
        **{
            field.name: torch.cat([getattr(part, field.name) for part in parts])[back]
            for field in fields(Likeness)
        }
    )


def _likeness(frames: Tensor, scenes: world.Scenes, seen: Track) -> Likeness:
    pose, there = _first_guess(scenes, seen)
    empty = _without_object(scenes)
    crop, away = _crop(frames, empty, pose)
    followed, pose = pose, _refined(crop, away, scenes, pose)
    own = _explained(crop, away, scenes, scenes.shape, pose, pose)
    others = [
        _explained(crop, away, scenes, *_instead(scenes, tried, step), pose)
        for step in range(1, len(SHAPES))
        for tried in (followed, pose)  # the second was refined for another shape
    ]
    moved = torch.stack(
        [
            (pose[0] - pose[0][:, :1]).abs() / 0.02,
            (pose[1] - pose[1][:, :1]).abs() / 0.02,
            (pose[2] / pose[2][:, :1] - 1).abs() / 0.06,
            (pose[3] - pose[3][:, :1]).abs() / 0.15,
        ]
    ).amax(0)
    return Likeness(
        own=torch.where(there, own, torch.nan),
        other=torch.stack(others).amax(0),
        beside=_beside(frames, scenes, pose),
        moving=(moved > 1) & there,
    )


Pose = list[Tensor]  # x, y, scale, angle, visibility, aperture, each [B, T]
Crop = tuple[Tensor, Tensor]  # frames, and the same without the object, [B, T, 3, h, w]


def _first_guess(scenes: world.Scenes, seen: Track) -> tuple[Pose, Tensor]:
    """The pose as it was followed, and where the object is there at all."""
    rest = seen.radius[:, :2].mean(1, keepdim=True)
    scale = (seen.radius / rest).clamp(0.5, 2.2)
    mass = seen.mass / seen.mass[:, :2].mean(1, keepdim=True).clamp(min=1e-4)
    there = mass > PRESENT
    pose = [
        scenes.x[:, None] + seen.x - seen.x[:, :1],
        scenes.y[:, None] + seen.y - seen.y[:, :1],
        scale,
        seen.angle - seen.angle[:, :1],
        (mass / scale.square()).clamp(0.2, 1),
        torch.where(seen.gap > 0.15, seen.gap, 0.0),
    ]
    return pose, there


def _without_object(scenes: world.Scenes) -> Tensor:
    """The room, with whoever stands by, `[B, T, 3, H, W]`."""
    state = world.motion(scenes, world.frame_times(scenes.x.device)).clone()
    state[..., world.STATE.index("visibility")] = 0
    return world.paint(scenes, state)


def _crop(frames: Tensor, empty: Tensor, pose: Pose) -> tuple[Crop, tuple[Tensor, Tensor]]:
    """Both around the first guess, and where each pixel of that is, `[B, T, h, w]`."""
    side = torch.arange(WINDOW, device=frames.device)
    corners = [
        (world.SIZE * place - WINDOW / 2).round().long().clamp(0, world.SIZE - WINDOW)
        for place in pose[:2]
    ]
    columns, rows = (corner[..., None] + side for corner in corners)
    index = rows[..., :, None] * world.SIZE + columns[..., None, :]
    flat = index.flatten(2)[:, :, None].expand(-1, -1, 3, -1)
    crops = [
        clip.flatten(3).gather(3, flat).unflatten(3, (WINDOW, WINDOW)) for clip in (frames, empty)
    ]
    across = ((columns + 0.5) / world.SIZE)[..., None, :]
    down = ((rows + 0.5) / world.SIZE)[..., :, None]
    return (crops[0], crops[1]), (across, down)


def _painted(
    empty: Tensor, at: tuple[Tensor, Tensor], scenes: world.Scenes, shape: Tensor, pose: Pose
) -> Tensor:
    """The object over `empty` in a pose."""
    x, y, scale, angle, visibility, aperture = pose
    away = (at[0] - x[..., None, None], at[1] - y[..., None, None])
    radius = scenes.radius[:, None] * scale
    cover, shade = world.silhouette(shape, away, radius, angle, aperture.clamp(min=0))
    return world.laid_over(empty, scenes.colour, cover * visibility[..., None, None], shade)


@torch.enable_grad()
def _refined(crop: Crop, at: tuple[Tensor, Tensor], scenes: world.Scenes, pose: Pose) -> Pose:
    """The pose that explains the frames best, near the first guess."""
    shift = [torch.zeros_like(value, requires_grad=True) for value in pose]
    mouth = (pose[5] > 0).float()  # only what seems open is tried as open
    stepper = torch.optim.Adam(shift, 1.0, betas=(0.7, 0.9))
    for step in range(STEPS):
        stepper.param_groups[0]["lr"] = 1 - 0.9 * step / STEPS
        now = _moved(pose, shift, mouth)
        error = (crop[0] - _painted(crop[1], at, scenes, scenes.shape, now)).abs().sum()
        gradients = torch.autograd.grad(error, shift)
        for value, gradient in zip(shift, gradients, strict=True):
            value.grad = gradient.nan_to_num()
        stepper.step()
    return [value.detach() for value in _moved(pose, shift, mouth)]


def _moved(pose: Pose, shift: list[Tensor], mouth: Tensor) -> Pose:
    moved = [value + unit * by for value, unit, by in zip(pose, UNITS, shift, strict=True)]
    moved[4] = moved[4].clamp(0, 1)
    moved[5] = moved[5] * mouth
    return moved


def _explained(
    crop: Crop,
    at: tuple[Tensor, Tensor],
    scenes: world.Scenes,
    shape: Tensor,
    pose: Pose,
    near: Pose,
) -> Tensor:
    """`[B, T]`: 1 less the share of the object that the rendering leaves unexplained.

    Args:
        near: the pose around which pixels count, the same for every shape that is tried.
    """
    frames, empty = crop
    whole = [*pose[:4], torch.ones_like(pose[4]), pose[5]]
    radius = REACH * scenes.radius[:, None] * near[2] + 2 / world.SIZE
    away = torch.hypot(at[0] - near[0][..., None, None], at[1] - near[1][..., None, None])
    counted = (away < radius[..., None, None])[:, :, None]
    size = (_painted(empty, at, scenes, scenes.shape, whole) - empty).abs() * counted
    error = (frames - _painted(empty, at, scenes, shape, pose)).abs() * counted
    size, error = size.sum((2, 3, 4)), error.sum((2, 3, 4))
    return 1 - error / size.clamp(min=1e-3)


def _instead(scenes: world.Scenes, pose: Pose, step: int) -> tuple[Tensor, Pose]:
    """Another shape of the same area in the same pose."""
    stout = torch.tensor(STOUTNESS, device=scenes.shape.device)
    shape = (scenes.shape + step) % len(SHAPES)
    scale = pose[2] * (stout[shape] / stout[scenes.shape])[:, None]
    return shape, [*pose[:2], scale, *pose[3:]]


def _beside(frames: Tensor, scenes: world.Scenes, pose: Pose) -> Tensor:
    """Likeness `[B, T]` of the object that stands by, where the other does not hide it."""
    x, y, radius = (value[:, None].expand_as(pose[0]) for value in scenes.other_place.unbind(1))
    still = torch.zeros_like(x)
    alone = replace(scenes, other_place=torch.zeros_like(scenes.other_place))
    empty = _without_object(alone)
    pixels = (torch.arange(world.SIZE, device=frames.device) + 0.5) / world.SIZE
    away = (pixels - x[..., None, None], pixels[:, None] - y[..., None, None])
    cover, shade = world.silhouette(scenes.other_shape, away, radius, still, still)
    full = world.laid_over(empty, scenes.other_colour, cover, shade)
    near = F.max_pool2d(cover, 5, stride=1, padding=2)[:, :, None]
    reach = 1.3 * scenes.radius[:, None] * pose[2] + 0.03
    own = torch.hypot(pixels - pose[0][..., None, None], pixels[:, None] - pose[1][..., None, None])
    seen = near * (own > reach[..., None, None])[:, :, None]
    size = ((full - empty).abs() * seen).sum((2, 3, 4))
    whole = ((full - empty).abs() * near).sum((2, 3, 4))
    error = ((frames - full).abs() * seen).sum((2, 3, 4))
    hidden = (size < 0.5 * whole) | (radius == 0)
    return torch.where(hidden, torch.nan, 1 - error / size.clamp(min=1e-3))
