"""Ground truth from pixels: what the object of a given colour does in any frames.

Nothing here knows how the frames were made, so an edit by any method can be judged: did the action
happen, to the right object, when, how strongly, without dissolving or teleporting, and did anything
else change?
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.errors import SparksError
from sparks.pocket.words import ACTIONS, COLOURS, understand
from sparks.pocket.world import FPS, RGB

PRESENT = 0.35  # share of the first frame's mass under which the object counts as gone
MIN_AREA = 0.008  # of the frame; smaller than any object at rest
LEAP = 0.16  # of the width in one frame: faster than anything that moves in the world
SPREAD = 1.75  # second moment over that of a disc of the same area: above it, two objects
SWELL = 1.13  # radius over its rest value: above it, what should keep its size is a double image


@dataclass(frozen=True)
class Track:
    """What was seen of one colour, per frame; every tensor is `[B, T]`."""

    x: Tensor  # centroid, fractions of the frame
    y: Tensor
    radius: Tensor  # of the disc of the same area, fraction of the frame
    mass: Tensor  # colourfulness summed over the object, fraction of the frame
    angle: Tensor  # of the bright half, radians, continuous in time
    spread: Tensor  # 1 for a disc
    gap: Tensor  # how much of the right of the object's core is gone, its left being there
    foreign: Tensor  # area of other saturated colours, fraction of the frame


@dataclass(frozen=True)
class Verdict:
    """The judgement of B clips on one action each; every tensor is `[B]`."""

    happened: Tensor  # bool: strong enough, continuous, and with its identity
    strength: Tensor  # 1 = the weakest that counts
    onset: Tensor  # seconds, NaN when nothing moved
    continuous: Tensor  # bool: neither dissolved nor teleported nor doubled
    identity: Tensor  # bool: the named object is there, and no other has come

    def __len__(self) -> int:
        return len(self.happened)


def track(frames: Tensor, colour: Tensor) -> Track:
    """Follow the object of `colour [B]` (an index) through `frames [B, T, 3, H, W]`."""
    member, chroma, foreign = _membership(frames, colour)
    height, width = frames.shape[-2:]
    rows = ((torch.arange(height, device=frames.device) + 0.5) / height)[:, None]
    columns = ((torch.arange(width, device=frames.device) + 0.5) / width)[None, :]
    area = member.sum((-1, -2)).clamp(min=1e-3)

    def mean(values: Tensor) -> Tensor:
        return (member * values).sum((-1, -2)) / area

    x, y = mean(columns), mean(rows)
    dx, dy = columns - x[..., None, None], rows - y[..., None, None]
    value = frames.amax(2)
    bright = value - mean(value)[..., None, None]
    angle = torch.atan2(mean(bright * dx), -mean(bright * dy))
    share = area / (height * width)
    return Track(
        x=x,
        y=y,
        radius=(share / math.pi).sqrt(),
        mass=(member * chroma).sum((-1, -2)) / (height * width),
        angle=_unwrap(angle),
        spread=mean(dx**2 + dy**2) * 2 * math.pi / share,
        gap=_gap(member, columns, rows),
        foreign=foreign,
    )


def _gap(member: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Of `member [B, T, H, W]`: what a mouth that opens to the right takes from the core.

    The core is what lies within six tenths of the radius at rest, where every shape of the world
    is solid, however it is turned.
    """
    rest = member[:, :2].mean(1, keepdim=True)
    area = rest.sum((-1, -2), keepdim=True).clamp(min=1e-3)
    x = (rest * columns).sum((-1, -2), keepdim=True) / area
    y = (rest * rows).sum((-1, -2), keepdim=True) / area
    radius = (area / math.pi / member[0, 0].numel()).sqrt()
    dx, dy = (columns - x) / radius, (rows - y) / radius
    core = (torch.hypot(dx, dy) < 0.62) & (dy.abs() < 0.65 * dx.abs()) & (dx.abs() > 0.15)

    def share(side: Tensor) -> Tensor:
        present = (member * side).sum((-1, -2))
        return present / (rest * side).sum((-1, -2)).clamp(min=1e-3)

    return (share(core & (dx < 0)).clamp(max=1) - share(core & (dx > 0))).clamp(0, 1)


def judge(frames: Tensor, prompts: list[str]) -> Verdict:
    """Does each clip of `frames [B, T, 3, H, W]` show what its prompt says?

    A prompt must name a colour and an action (`understand`); the shape is not judged.

    Raises:
        SparksError: a prompt names no colour or no action.
    """
    sentences = [understand(prompt) for prompt in prompts]
    for prompt, said in zip(prompts, sentences, strict=True):
        if said.colour is None or said.action is None:
            raise SparksError(
                f"prompt {prompt!r} names no colour or no action; say e.g. 'a red ball jumps'"
            )
    colour = torch.tensor([COLOURS.index(s.colour) for s in sentences if s.colour])
    action = torch.tensor([ACTIONS.index(s.action) for s in sentences if s.action])
    seen = track(frames, colour.to(frames.device))
    return verdict(seen, action.to(frames.device))


def verdict(seen: Track, action: Tensor, strength_of: Tensor | None = None) -> Verdict:
    """Judge tracks on `action [B]` (an index); `strength_of` is `strengths(seen)`, if known."""
    every = strengths(seen) if strength_of is None else strength_of
    strength = every.gather(1, action[:, None])[:, 0]
    continuous = _continuous(seen, action)
    first = seen.mass[:, :3].mean(1)
    # A second object may have been there from the start.
    came = (seen.foreign - seen.foreign[:, :1]).amax(1)
    there = (first > MIN_AREA * 0.3) & (came < MIN_AREA)
    return Verdict(
        happened=(strength >= 1) & continuous & there,
        strength=strength,
        onset=_onset(seen),
        continuous=continuous,
        identity=there,
    )


def outside_error(frames: Tensor, reference: Tensor, colour: Tensor) -> Tensor:
    """Mean absolute error `[B]` three pixels away from where the object of either clip ever is."""
    members = (_membership(clip, colour)[0] for clip in (frames, reference))
    inside = torch.maximum(*members)
    grown = F.max_pool2d(inside.amax(1, keepdim=True), 7, stride=1, padding=3)
    outside = (grown[:, :, None] < 0.5).float().expand_as(frames)
    error = ((frames - reference).abs() * outside).sum((1, 2, 3, 4))
    return error / outside.sum((1, 2, 3, 4)).clamp(min=1)


def coverage(frames: Tensor, colour: Tensor) -> Tensor:
    """How much each pixel belongs to the object of `colour [B]`: `[B, T, H, W]` in [0, 1]."""
    return _membership(frames, colour)[0]


def _membership(frames: Tensor, colour: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How much each pixel belongs to the colour, its chroma, and the area of other colours."""
    pure = frames - frames.amin(2, keepdim=True)
    chroma = pure.amax(2)
    prototypes = RGB.to(frames.device)
    prototypes = prototypes - prototypes.amin(1, keepdim=True)
    prototypes = prototypes / prototypes.norm(dim=1, keepdim=True)
    length = pure.square().sum(2, keepdim=True).sqrt()  # torch is slow at norms along this axis
    unit = pure / length.clamp(min=1e-4)
    likeness = torch.einsum("btchw,kc->bkthw", unit, prototypes)
    saturated = ((chroma - 0.12) / 0.1).clamp(0, 1)
    nearest = likeness.max(1)
    is_own = (nearest.indices == colour[:, None, None, None]).float()
    clear = (nearest.values > 0.9).float()
    foreign = (saturated * (1 - is_own) * clear * (chroma > 0.3)).mean((-1, -2))
    return saturated * is_own, chroma, foreign


def strengths(seen: Track) -> Tensor:
    """`[B, actions]`: each action's strength, 1 being the weakest that counts."""
    dx, dy = seen.x - seen.x[:, :1], seen.y[:, :1] - seen.y
    rest = seen.radius[:, :2].mean(1, keepdim=True)
    present = seen.mass > PRESENT * seen.mass[:, :1]
    dx, dy = torch.where(present, dx, 0.0), torch.where(present, dy, 0.0)
    size = torch.where(present, seen.radius / rest, 1.0)
    angle = torch.where(present, seen.angle - seen.angle[:, :1], 0.0)
    turn = angle.abs().amax(1)
    peak, fallen = dy.amax(1), dy[:, -2:].mean(1)
    end_x, end_size = dx[:, -3:].mean(1), size[:, -3:].mean(1)
    steady = (size.amax(1) < 1.3) & (dx.abs().amax(1) < 0.12)
    jump = peak / 0.12 * (steady & (fallen < 0.6 * peak))
    both = torch.minimum(jump, _turn_after(angle, dy) / math.pi)
    jump = jump * (both < 1)
    level = (dy.abs().amax(1) < 0.1) & (size.amax(1) < 1.3)
    in_place = (dx.abs().amax(1) < 0.1) & (dy.abs().amax(1) < 0.1)
    grow = (end_size - 1).clamp(min=0) / 0.22 * in_place
    spin = turn / math.pi * (in_place & (size.amax(1) < 1.35))
    blink = _winks(seen.mass) * in_place
    mouth = seen.gap.amax(1) / 0.5 * (in_place & (seen.gap[:, -2:].mean(1) < 0.4))
    wave = _swing(angle) / 0.45 * in_place * (turn < math.pi / 2)
    fall = _drop(-dy) / 0.11 * steady
    shifts = [dx.abs().amax(1) / 0.06, dy.abs().amax(1) / 0.06, (size - 1).abs().amax(1) / 0.15]
    turns = [turn / (math.pi / 4), _swing(angle) / 0.3, _winks(seen.mass), seen.gap.amax(1) / 0.4]
    stay = 1 / torch.stack([*shifts, *turns]).amax(0).clamp(min=1e-3)
    left, right = -end_x / 0.12 * level, end_x / 0.12 * level
    per_action = (stay, jump, left, right, grow, spin, blink, mouth, wave, fall, both)
    return torch.stack(per_action, dim=1)


def _turn_after(angle: Tensor, height: Tensor) -> Tensor:
    """Radians turned `[B]` once it is down again; 0 if it had turned a quarter by then."""
    frame = torch.arange(angle.shape[1], device=angle.device)
    landed = (frame > height.argmax(1, keepdim=True)) & (
        height < 0.4 * height.amax(1, keepdim=True)
    )
    first = torch.where(landed.any(1), landed.int().argmax(1), angle.shape[1] - 1)
    before = angle.gather(1, first[:, None])
    turned = torch.where(frame >= first[:, None], (angle - before).abs(), 0.0).amax(1)
    return turned * (before[:, 0].abs() < math.pi / 2)


def _swing(angle: Tensor) -> Tensor:
    """Radians to the lesser side `[B]` of what rocks there, back and there again; else 0."""
    aside = 0.35
    side = (angle > aside).int() - (angle < -aside).int()
    swings = (torch.diff(_held(side)).abs() > 1).sum(1)
    return torch.minimum(angle.amax(1), -angle.amin(1)) * (swings >= 2)


def _drop(depth: Tensor) -> Tensor:
    """How deep `[B]` it fell, if it sprang back by a fifth of that and came down again; else 0."""
    deepest = depth.amax(1, keepdim=True)
    lowest = depth.cummax(1).values
    sprung = torch.where(lowest > 0.7 * deepest, lowest - depth, 0.0).amax(1)
    down = depth[:, -2:].mean(1) > 0.6 * deepest[:, 0]
    return deepest[:, 0] * (sprung > 0.2 * deepest[:, 0]) * down


def _winks(mass: Tensor) -> Tensor:
    """How often the object went away and came back, `[B]`."""
    relative = mass / mass[:, :2].mean(1, keepdim=True).clamp(min=1e-4)
    gone = relative < PRESENT
    back = relative > 0.65
    # Between "gone" and "back" the object is what it last was.
    return (torch.diff(_held(back.int() - gone.int())) > 1).sum(1).float()


def _held(state: Tensor) -> Tensor:
    """`state [B, T]` with every 0 replaced by what was last."""
    frame = torch.arange(state.shape[1], device=state.device).expand_as(state)
    return state.gather(1, torch.where(state != 0, frame, 0).cummax(1).values)


def _continuous(seen: Track, action: Tensor) -> Tensor:
    """Never gone (unless it is to blink), never faster than LEAP, never in two places."""
    blinking = action == ACTIONS.index("blink")
    present = seen.mass > PRESENT * seen.mass[:, :1]
    step = torch.hypot(torch.diff(seen.x), torch.diff(seen.y))
    both = present[:, 1:] & present[:, :-1]
    burst = torch.diff(seen.radius).abs() / seen.radius[:, :1]
    leapt = (torch.where(both, torch.maximum(step, burst / 2), 0.0) > LEAP).any(1)
    doubled = (torch.where(present, seen.spread, 1.0) > SPREAD).any(1)
    swollen = (seen.radius > SWELL * seen.radius[:, :2].mean(1, keepdim=True)).any(1)
    doubled = doubled | (swollen & (action != ACTIONS.index("grow")))
    return (present.all(1) | blinking) & ~leapt & ~doubled


def _onset(seen: Track) -> Tensor:
    """Seconds at which anything of the object has clearly changed."""
    rest = seen.radius[:, :1]
    change = torch.stack(
        [
            (seen.x - seen.x[:, :1]).abs() / 0.04,
            (seen.y - seen.y[:, :1]).abs() / 0.04,
            (seen.radius / rest - 1).abs() / 0.12,
            (seen.angle - seen.angle[:, :1]).abs() / (math.pi / 6),
            seen.gap / 0.3,
        ]
    ).amax(0)
    moving = change > 1
    seconds = moving.float().argmax(1) / float(FPS)
    return torch.where(moving.any(1), seconds, torch.nan)


def _unwrap(angle: Tensor) -> Tensor:
    step = torch.diff(angle, dim=-1)
    step = (step + math.pi) % (2 * math.pi) - math.pi
    return angle[..., :1] + torch.cat([torch.zeros_like(step[..., :1]), step.cumsum(-1)], dim=-1)
