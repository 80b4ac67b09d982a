"""A procedural world of clips with sound: one object, one action, and a sound bound to its motion.

Everything is batched over scenes. Scene parameters are drawn on the CPU from one generator, so a
seed gives the same scenes on every device. Positions are fractions of the frame, y downwards.

The sound is a function of the object's state, not of the action's name: pitch follows height and
inverse size, loudness follows how fast the state changes, rhythm follows rotation and visibility,
the stereo balance follows the horizontal position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.pocket.words import ACTIONS, COLOURS, SHAPES, phrase

SIZE = 64
NUM_FRAMES = 25
FPS = Fraction(25, 2)
DURATION = float(NUM_FRAMES / FPS)
SAMPLE_RATE = 16000
NUM_SAMPLES = round(DURATION * SAMPLE_RATE)

RGB = torch.tensor([[0.90, 0.14, 0.12], [0.12, 0.68, 0.20], [0.14, 0.30, 0.92], [0.95, 0.80, 0.10]])
DARK_HALF = 0.42  # the lower half of every object is darker, so that its rotation shows
CONTROL_RATE = 200  # Hz, at which motion is sampled for the sound
STATE = ("x", "y", "scale", "angle", "visibility")


@dataclass(frozen=True)
class Scenes:
    """Parameters of B clips; every field is a tensor with B first."""

    shape: Tensor  # index into SHAPES
    colour: Tensor  # index into COLOURS
    action: Tensor  # index into ACTIONS
    x: Tensor  # centre at rest, fractions of the frame
    y: Tensor
    radius: Tensor
    start: Tensor  # seconds
    length: Tensor  # seconds
    amplitude: Tensor  # 0 (weakest that counts) .. 1 (strongest)
    share: Tensor  # of the motion that is carried out: 1, or less for a feeble one
    turns: Tensor  # rotations of a spin, blinks of a blink
    sky: Tensor  # [B, 3] colours of the background
    ground: Tensor  # [B, 3]
    horizon: Tensor
    stripes: Tensor  # [B, 3]: contrast, frequency, phase
    hiss: Tensor  # level of the background noise

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: slice | Tensor) -> Scenes:
        return Scenes(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> Scenes:
        return Scenes(*(getattr(self, f.name).to(device) for f in fields(self)))

    def acting(self, action: str) -> Scenes:
        """The same scenes with another action: same object, place, background and timing."""
        return replace(self, action=torch.full_like(self.action, ACTIONS.index(action)))

    def prompts(self, variants: Sequence[int] | None = None, actions: bool = True) -> list[str]:
        """One prompt a scene; without `actions` the generic one ("a red ball")."""
        picks = variants if variants is not None else [0] * len(self)
        columns = (self.colour.tolist(), self.shape.tolist(), self.action.tolist(), picks)
        return [
            phrase(COLOURS[colour], SHAPES[shape], ACTIONS[action] if actions else None, variant)
            for colour, shape, action, variant in zip(*columns, strict=True)
        ]


def draw(count: int, seed: int, actions: Sequence[str] = ACTIONS) -> Scenes:
    """Draw `count` scenes; the same seed gives the same scenes on every machine."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    def choose(options: int) -> Tensor:
        return torch.randint(options, (count,), generator=generator)

    pool = torch.tensor([ACTIONS.index(a) for a in actions])
    length = uniform(0.9, 1.3)
    grey = uniform(0.45, 0.9, 1)
    floor = grey * uniform(0.6, 0.85, 1)
    return Scenes(
        shape=choose(len(SHAPES)),
        colour=choose(len(COLOURS)),
        action=pool[choose(len(pool))],
        x=uniform(0.38, 0.62),
        y=uniform(0.60, 0.72),
        radius=uniform(0.13, 0.16),
        start=uniform(0.0, 1.0) * (DURATION - 0.15 - length - 0.25) + 0.25,
        length=length,
        amplitude=uniform(0.0, 1.0),
        share=torch.ones(count),
        turns=choose(2) + 1,
        sky=(grey + uniform(-0.03, 0.03, 3)).clamp(0, 1),
        ground=(floor + uniform(-0.03, 0.03, 3)).clamp(0, 1),
        horizon=uniform(0.45, 0.7),
        stripes=torch.stack(
            [uniform(0, 0.06) * (uniform(0, 1) < 0.5), uniform(2, 6), uniform(0, 2 * math.pi)],
            dim=1,
        ),
        hiss=uniform(0.001, 0.006),
    )


def join(first: Scenes, second: Scenes) -> Scenes:
    names = [field.name for field in fields(Scenes)]
    return Scenes(*(torch.cat([getattr(first, name), getattr(second, name)]) for name in names))


def motion(scenes: Scenes, times: Tensor) -> Tensor:
    """Ground-truth state curves `[B, T, 5]` (see STATE) at `times [T]` in seconds."""
    names = ("x", "y", "action", "start", "length", "amplitude", "turns", "share")
    column = {name: getattr(scenes, name)[:, None] for name in names}
    u = ((times[None] - column["start"]) / column["length"]).clamp(0, 1)
    ease = u * u * (3 - 2 * u)
    strength = column["amplitude"]

    def during(action: str) -> Tensor:
        return column["share"] * (column["action"] == ACTIONS.index(action))

    direction = during("slide_right") - during("slide_left")
    jump = during("jump") * (0.22 + 0.16 * strength) * torch.sin(math.pi * u) ** 2
    wink = 0.5 - 0.5 * torch.cos(2 * math.pi * column["turns"].clamp(min=1) * u)
    return torch.stack(
        [
            column["x"] + direction * (0.18 + 0.06 * strength) * ease,
            column["y"] - jump,
            1 + during("grow") * (0.45 + 0.35 * strength) * ease,
            during("spin") * 2 * math.pi * (0.75 + 0.25 * column["turns"]) * ease,
            1 - during("blink") * torch.sigmoid(14 * (wink - 0.5)),
        ],
        dim=-1,
    )


def frame_times(device: torch.device | str = "cpu") -> Tensor:
    return torch.arange(NUM_FRAMES, device=device) / float(FPS)


def render(scenes: Scenes) -> Tensor:
    """Frames `[B, T, 3, SIZE, SIZE]` in [0, 1]."""
    return paint(scenes, motion(scenes, frame_times(scenes.x.device)))


def paint(scenes: Scenes, state: Tensor) -> Tensor:
    """Frames of the scenes' objects in the given states `[B, T, 5]`."""
    x, y, scale, angle, visibility = (s[..., None, None] for s in state.unbind(-1))
    pixels = (torch.arange(SIZE, device=state.device) + 0.5) / SIZE
    dx, dy = pixels[None, None, None, :] - x, pixels[None, None, :, None] - y
    radius = scenes.radius[:, None, None, None] * scale
    u = (dx * angle.cos() + dy * angle.sin()) / radius
    v = (dy * angle.cos() - dx * angle.sin()) / radius
    cover = (0.5 - _outline(scenes.shape[:, None, None, None], u, v) * radius * SIZE).clamp(0, 1)
    cover = (cover * visibility)[:, :, None]
    shade = DARK_HALF + (1 - DARK_HALF) * (0.5 - v * radius * SIZE).clamp(0, 1)[:, :, None]
    colour = RGB.to(state.device)[scenes.colour][:, None, :, None, None]
    return cover * colour * shade + (1 - cover) * _background(scenes)[:, None]


def _outline(shape: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to the shape's outline in units of its radius, negative inside."""
    ball = torch.hypot(u, v) - 1
    box = torch.maximum(u.abs(), v.abs()) - 0.88
    triangle = torch.maximum(u.abs() * 0.866 - v * 0.5, v) - 0.62
    return torch.where(shape == 0, ball, torch.where(shape == 1, box, triangle))


def _background(scenes: Scenes) -> Tensor:
    """`[B, 3, SIZE, SIZE]`: sky and ground with soft vertical stripes, nearly grey."""
    pixels = (torch.arange(SIZE, device=scenes.x.device) + 0.5) / SIZE
    below = ((pixels[None] - scenes.horizon[:, None]) * SIZE + 0.5).clamp(0, 1)[:, None, :, None]
    plain = scenes.sky[:, :, None, None] * (1 - below) + scenes.ground[:, :, None, None] * below
    contrast, frequency, phase = scenes.stripes.unbind(1)
    wave = torch.sin(2 * math.pi * frequency[:, None] * pixels[None] + phase[:, None])
    return (plain + (contrast[:, None] * wave)[:, None, None, :]).clamp(0, 1)


def sound(scenes: Scenes, seed: int = 0) -> Tensor:
    """Waveform `[B, 2, NUM_SAMPLES]` at SAMPLE_RATE, in [-1, 1]."""
    device = scenes.x.device
    times = torch.arange(round(DURATION * CONTROL_RATE) + 1, device=device) / CONTROL_RATE
    x, pitch, loudness = _voice(scenes, motion(scenes, times))
    x, pitch, loudness = (_to_samples(curve) for curve in (x, pitch, loudness))
    phase = 2 * math.pi * torch.cumsum(pitch.double() / SAMPLE_RATE, dim=1) % (2 * math.pi)
    voice = loudness * _timbre(scenes.shape[:, None], phase.float())
    left, right = torch.cos(x * math.pi / 2), torch.sin(x * math.pi / 2)
    noise = torch.randn(2, NUM_SAMPLES, generator=torch.Generator().manual_seed(seed)).to(device)
    stereo = torch.stack([voice * left, voice * right], dim=1) + scenes.hiss[:, None, None] * noise
    return stereo.clamp(-1, 1)


def _voice(scenes: Scenes, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Balance (0 left .. 1 right), pitch in Hz and loudness of the object's voice over time."""
    x, y, scale, angle, visibility = state.unbind(-1)
    rate = torch.diff(state, dim=1, append=state[:, -1:]) * CONTROL_RATE
    weights = torch.tensor([1.0, 1.0, 0.7, 0.12, 0.25], device=state.device)
    activity = (rate.abs() * weights).sum(-1).clamp(max=1)
    height = scenes.y[:, None] - y
    pitch = 300 * 2 ** (3.5 * height + 1.6 * (1 - scale))
    tremolo = 0.55 + 0.45 * torch.cos(2 * angle)
    balance = (0.5 + 1.8 * (x - 0.5)).clamp(0, 1)
    return balance, pitch, 0.5 * visibility * tremolo * (0.12 + 0.88 * activity)


def _timbre(shape: Tensor, phase: Tensor) -> Tensor:
    """A ball hums, a box buzzes with odd overtones, a triangle is bright."""
    box = torch.sin(phase) + torch.sin(3 * phase) / 3 + torch.sin(5 * phase) / 5
    triangle = torch.sin(phase) + torch.sin(2 * phase) / 2 + torch.sin(4 * phase) / 3
    return torch.where(shape == 0, torch.sin(phase), torch.where(shape == 1, box, triangle) / 1.3)


def _to_samples(curve: Tensor) -> Tensor:
    return F.interpolate(curve[:, None], size=NUM_SAMPLES, mode="linear", align_corners=True)[:, 0]
