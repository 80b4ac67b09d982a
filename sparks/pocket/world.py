"""A procedural world of clips with sound: one object acts, and the sound is bound to its motion.

A second object may stand by, and the background may drift; neither makes a sound.

Everything is batched over scenes. Scene parameters are drawn on the CPU from one generator, so a
seed gives the same scenes on every device. Positions are fractions of the frame, y downwards.

The sound is a function of the object's state, not of the action's name: pitch follows height and
inverse size, loudness follows how fast the state changes, rhythm follows rotation and visibility,
the stereo balance follows the horizontal position, an open mouth adds an overtone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.pocket.words import ACTIONS, COLOURS, SHAPES, phrase

SIZE = 96
NUM_FRAMES = 25
WATCHED = 24  # of them, evenly spaced, are what a critic looks at
FPS = Fraction(25, 2)
DURATION = float(NUM_FRAMES / FPS)
REST = 0.15  # seconds at the end in which nothing moves any more
SAMPLE_RATE = 16000
NUM_SAMPLES = round(DURATION * SAMPLE_RATE)

RGB = torch.tensor(
    [
        *([0.90, 0.14, 0.12], [0.12, 0.68, 0.20], [0.14, 0.30, 0.92], [0.95, 0.80, 0.10]),
        *([0.72, 0.12, 0.80], [0.08, 0.78, 0.84]),
    ]
)
DARK_HALF = 0.42  # the lower half of every object is darker, so that its rotation shows
CONTROL_RATE = 200  # Hz, at which motion is sampled for the sound
STATE = ("x", "y", "scale", "angle", "visibility", "aperture", "pan")
COMPANY = 0.4  # share of the scenes with a second object
DRIFT = 0.4  # share with a drifting background


@dataclass(frozen=True)
class Scenes:
    """Parameters of B clips; every field is a tensor with B first."""

    shape: Tensor  # index into the shapes
    colour: Tensor  # index into the colours
    action: Tensor  # index into the actions
    x: Tensor  # centre at rest, fractions of the frame
    y: Tensor
    radius: Tensor
    start: Tensor  # seconds
    length: Tensor  # seconds
    amplitude: Tensor  # 0 (weakest that counts) .. 1 (strongest)
    share: Tensor  # of the motion that is carried out: 1, or less for a feeble one
    turns: Tensor  # 1 or 2: blinks, openings; more turns of a spin, more swings of a wave
    sky: Tensor  # [B, 3] colours of the background
    ground: Tensor  # [B, 3]
    horizon: Tensor
    stripes: Tensor  # [B, 3]: contrast, frequency, phase
    hiss: Tensor  # level of the background noise
    drift: Tensor  # of the stripes, radians a second
    other_shape: Tensor  # of the second object
    other_colour: Tensor
    other_place: Tensor  # [B, 3]: centre and radius; radius 0 where there is none

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
            phrase(
                COLOURS[colour],
                SHAPES[shape],
                ACTIONS[action] if actions else None,
                variant,
            )
            for colour, shape, action, variant in zip(*columns, strict=True)
        ]


def draw(count: int, seed: int, actions: Sequence[str] = ACTIONS) -> Scenes:
    """Draw `count` scenes; the same seed gives the same scenes on every machine.

    Args:
        actions: those that may be drawn.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    def choose(options: int) -> Tensor:
        return torch.randint(options, (count,), generator=generator)

    pool = torch.tensor([ACTIONS.index(a) for a in actions])
    length = uniform(0.9, 1.3)
    grey = uniform(0.45, 0.9, 1)
    floor = grey * uniform(0.6, 0.85, 1)
    alone: dict[str, Tensor] = {
        "shape": choose(len(SHAPES)),
        "colour": choose(len(COLOURS)),
        "action": pool[choose(len(pool))],
        "x": uniform(0.38, 0.62),
        "y": uniform(0.52, 0.64),  # room to fall, and for two
        "radius": uniform(0.115, 0.145),
        "start": uniform(0.0, 1.0) * (DURATION - REST - length - 0.25) + 0.25,
        "length": length,
        "amplitude": uniform(0.0, 1.0),
        "share": torch.ones(count),
        "turns": choose(2) + 1,
        "sky": (grey + uniform(-0.03, 0.03, 3)).clamp(0, 1),
        "ground": (floor + uniform(-0.03, 0.03, 3)).clamp(0, 1),
        "horizon": uniform(0.45, 0.7),
        "stripes": torch.stack(
            [uniform(0, 0.06) * (uniform(0, 1) < 0.5), uniform(2, 6), uniform(0, 2 * math.pi)],
            dim=1,
        ),
        "hiss": uniform(0.001, 0.006),
    }
    return Scenes(**alone | _busy(alone, uniform, choose))


def _busy(
    alone: Mapping[str, Tensor], uniform: Callable[..., Tensor], choose: Callable[[int], Tensor]
) -> dict[str, Tensor]:
    """Some of the scenes with a second object of another colour, some with moving stripes."""
    drifts, backwards = uniform(0, 1) < DRIFT, uniform(0, 1) < 0.5
    stripes = torch.stack([uniform(0.03, 0.07), *alone["stripes"].unbind(1)[1:]], dim=1)
    side = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    place = torch.stack(
        [0.5 + side * uniform(0.22, 0.38), uniform(0.8, 0.88), uniform(0.08, 0.1)], 1
    )
    accompanied = (uniform(0, 1) < COMPANY)[:, None]
    return {
        "stripes": torch.where(drifts[:, None], stripes, alone["stripes"]),
        "drift": drifts * torch.where(backwards, -1.0, 1.0) * uniform(1.5, 4.0),
        "other_shape": choose(len(SHAPES)),
        "other_colour": (alone["colour"] + 1 + choose(len(COLOURS) - 1)) % len(COLOURS),
        "other_place": torch.where(accompanied, place, torch.zeros_like(place)),
    }


def lasting(scenes: Scenes) -> Tensor:
    """Seconds `[B]` that each action takes; two in a row need all the time there is left."""
    twice = scenes.action == ACTIONS.index("jump_spin")
    return torch.where(twice, DURATION - REST - scenes.start, scenes.length)


def motion(scenes: Scenes, times: Tensor) -> Tensor:
    """Ground-truth state curves `[B, T, 7]` (see STATE) at `times [T]` in seconds."""
    names = ("x", "y", "action", "start", "amplitude", "turns", "share", "drift")
    column = {name: getattr(scenes, name)[:, None] for name in names}
    strength, turns = column["amplitude"], column["turns"]

    def doing(action: str) -> Tensor:
        return (column["action"] == ACTIONS.index(action)).float()

    twice = doing("jump_spin")
    u = ((times[None] - column["start"]) / lasting(scenes)[:, None]).clamp(0, 1)
    first, second = (2 * u).clamp(max=1), (2 * u - 1).clamp(min=0)
    wink = 0.5 - 0.5 * torch.cos(2 * math.pi * turns * u)
    rise = doing("jump") * (0.22 + 0.16 * strength) * torch.sin(math.pi * u) ** 2
    rise = rise + twice * (0.17 + 0.08 * strength) * torch.sin(math.pi * first) ** 2
    rise = rise - doing("fall") * (0.15 + 0.05 * strength) * _bouncing(u)
    direction = doing("slide_right") - doing("slide_left")
    turn = doing("spin") * (0.75 + 0.25 * turns) * _ease(u) + twice * _ease(second)
    rock = doing("wave") * (0.8 + 0.25 * strength) * torch.sin(math.pi * (2 + turns) * u)
    share = column["share"]
    return torch.stack(
        [
            column["x"] + share * direction * (0.18 + 0.06 * strength) * _ease(u),
            column["y"] - share * rise,
            1 + share * doing("grow") * (0.45 + 0.35 * strength) * _ease(u),
            share * (2 * math.pi * turn + rock),
            1 - share * doing("blink") * torch.sigmoid(14 * (wink - 0.5)),
            share * doing("open") * (0.65 + 0.3 * strength) * wink,
            column["drift"] * times[None],
        ],
        dim=-1,
    )


def _ease(u: Tensor) -> Tensor:
    return u * u * (3 - 2 * u)


def _bouncing(u: Tensor) -> Tensor:
    """From 0 down to 1 with the weight of a fall, up by a half, down, up by a fifth, down."""
    fall = (u / 0.36).clamp(max=1) ** 2
    leaps = ((0.36, 0.74, 0.5), (0.74, 1.0, 0.2))
    parts = [((u - a) / (b - a)).clamp(0, 1) for a, b, _ in leaps]
    return fall - sum(4 * h * p * (1 - p) for p, (_, _, h) in zip(parts, leaps, strict=True))


def frame_times(device: torch.device | str = "cpu") -> Tensor:
    return torch.arange(NUM_FRAMES, device=device) / float(FPS)


def render(scenes: Scenes) -> Tensor:
    """Frames `[B, T, 3, SIZE, SIZE]` in [0, 1]."""
    return paint(scenes, motion(scenes, frame_times(scenes.x.device)))


def paint(scenes: Scenes, state: Tensor) -> Tensor:
    """Frames of the scenes' objects in the given states `[B, T, 7]`."""
    frames = background(scenes, state)
    x, y, radius = (value[:, None] for value in scenes.other_place.unbind(1))
    if (radius > 0).any():
        frames = _over(frames, scenes.other_shape, scenes.other_colour, x, y, radius)
    x, y, scale, angle, visibility, aperture, _ = state.unbind(-1)
    radius = scenes.radius[:, None] * scale
    return _over(frames, scenes.shape, scenes.colour, x, y, radius, angle, visibility, aperture)


def _over(
    frames: Tensor,
    shape: Tensor,
    colour: Tensor,
    x: Tensor,
    y: Tensor,
    radius: Tensor,
    *pose: Tensor,
) -> Tensor:
    """Lay objects of `shape [B]`, `colour [B]` over frames; the rest is `[B, T]`, or `[B, 1]`.

    Args:
        pose: angle, visibility and aperture; upright, whole and closed by default.
    """
    still = torch.zeros_like(x)
    angle, visibility, aperture = pose or (still, still + 1, still)
    pixels = (torch.arange(SIZE, device=x.device) + 0.5) / SIZE
    away = (pixels - x[..., None, None], pixels[:, None] - y[..., None, None])
    cover, shade = silhouette(shape, away, radius, angle, aperture)
    return laid_over(frames, colour, cover * visibility[..., None, None], shade)


def laid_over(frames: Tensor, colour: Tensor, cover: Tensor, shade: Tensor) -> Tensor:
    """Frames `[B, T, 3, H, W]` under objects of `colour [B]`; see `silhouette` for the others."""
    cover = cover[:, :, None]
    paint = RGB.to(frames.device)[colour][:, None, :, None, None]
    return cover * paint * shade[:, :, None] + (1 - cover) * frames


def silhouette(
    shape: Tensor, away: tuple[Tensor, Tensor], radius: Tensor, angle: Tensor, aperture: Tensor
) -> tuple[Tensor, Tensor]:
    """How much of each pixel an object of `shape [B]` covers, and how bright it is there.

    Args:
        away: pixels' distances to the centre, across and down, which broadcast to `[B, T, H, W]`.
        radius, angle, aperture: `[B, T]`.
    """
    turn, size = angle[..., None, None], radius[..., None, None]
    dx, dy = away
    unit = size.clamp(min=1e-4)
    u = (dx * turn.cos() + dy * turn.sin()) / unit
    v = (dy * turn.cos() - dx * turn.sin()) / unit
    edge = _outline(shape[:, None, None, None], u, v)
    mouth = aperture[..., None, None]
    edge = torch.where(mouth > 0, torch.maximum(edge, _mouth(mouth, u, v)), edge)
    cover = (0.5 - edge * size * SIZE).clamp(0, 1) * (size > 0)
    return cover, DARK_HALF + (1 - DARK_HALF) * (0.5 - v * size * SIZE).clamp(0, 1)


def _outline(shape: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Signed distance to the shape's outline in units of its radius, negative inside."""
    first, *rest = shape.unique().tolist() or [0]  # of no scenes, any
    distance = _OUTLINES[first](u, v)
    for index in rest:
        distance = torch.where(shape == index, _OUTLINES[index](u, v), distance)
    return distance


def _ball(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 1


def _box(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.88


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs() * 0.866 - v * 0.5, v) - 0.62


def _cross(u: Tensor, v: Tensor) -> Tensor:
    across, along = torch.minimum(u.abs(), v.abs()), torch.maximum(u.abs(), v.abs())
    return torch.maximum(across - 0.42, along - 1.02)


def _star(u: Tensor, v: Tensor, outer: float = 1.12, inner: float = 0.58) -> Tensor:
    """Five points, one of them up: distance to the nearest of its ten edges' lines."""
    fifth = 2 * math.pi / 5
    angle = torch.atan2(u, -v)
    angle = (torch.remainder(angle + fifth / 2, fifth) - fifth / 2).abs()
    radius = torch.hypot(u, v)
    x, y = radius * angle.sin(), radius * angle.cos()
    dx, dy = inner * math.sin(fifth / 2), inner * math.cos(fifth / 2) - outer
    length = math.hypot(dx, dy)
    return (dx * (y - outer) - dy * x) / length


_OUTLINES = (_ball, _box, _triangle, _cross, _star)  # as in SHAPES


def _mouth(aperture: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Signed distance into a wedge that opens to the right by `aperture` radians on either side."""
    return u * aperture.sin() - v.abs() * aperture.cos()


def presence(scenes: Scenes, state: Tensor, frames: Tensor) -> Tensor:
    """Where in `frames`, painted of the state, any object is: bool `[B, T, SIZE, SIZE]`."""
    return (frames - background(scenes, state)).abs().amax(2) > 0.02


def background(scenes: Scenes, state: Tensor) -> Tensor:
    """`[B, T, 3, SIZE, SIZE]`: sky and ground with soft vertical stripes, nearly grey."""
    pan = state[..., STATE.index("pan")]
    pixels = (torch.arange(SIZE, device=scenes.x.device) + 0.5) / SIZE
    below = ((pixels[None] - scenes.horizon[:, None]) * SIZE + 0.5).clamp(0, 1)[:, None, :, None]
    plain = scenes.sky[:, :, None, None] * (1 - below) + scenes.ground[:, :, None, None] * below
    contrast, frequency, phase = scenes.stripes[:, :, None, None].unbind(1)
    wave = torch.sin(2 * math.pi * frequency * pixels + (phase + pan[..., None]))
    return (plain[:, None] + (contrast * wave)[:, :, None, None, :]).clamp(0, 1)


def sound(scenes: Scenes, seed: int = 0) -> Tensor:
    """Waveform `[B, 2, NUM_SAMPLES]` at SAMPLE_RATE, in [-1, 1]."""
    device = scenes.x.device
    times = torch.arange(round(DURATION * CONTROL_RATE) + 1, device=device) / CONTROL_RATE
    state = motion(scenes, times)
    curves = (*voice(scenes, state), state[..., STATE.index("aperture")])
    x, pitch, loudness, mouth = (_to_samples(curve) for curve in curves)
    phase = 2 * math.pi * torch.cumsum(pitch.double() / SAMPLE_RATE, dim=1) % (2 * math.pi)
    tone = loudness * timbre(scenes.shape[:, None], phase.float(), mouth)
    left, right = torch.cos(x * math.pi / 2), torch.sin(x * math.pi / 2)
    noise = torch.randn(2, NUM_SAMPLES, generator=torch.Generator().manual_seed(seed)).to(device)
    stereo = torch.stack([tone * left, tone * right], dim=1) + scenes.hiss[:, None, None] * noise
    return stereo.clamp(-1, 1)


def voice(scenes: Scenes, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Balance (0 left .. 1 right), pitch in Hz and loudness of the object's voice over time."""
    x, y, scale, angle, visibility, _, _ = state.unbind(-1)
    rate = torch.diff(state, dim=1, append=state[:, -1:]) * CONTROL_RATE
    weights = torch.tensor([1.0, 1.0, 0.7, 0.12, 0.25, 0.2, 0.0], device=state.device)
    activity = (rate.abs() * weights).sum(-1).clamp(max=1)
    height = scenes.y[:, None] - y
    pitch = 300 * 2 ** (3.5 * height + 1.6 * (1 - scale))
    tremolo = 0.55 + 0.45 * torch.cos(2 * angle)
    balance = (0.5 + 1.8 * (x - 0.5)).clamp(0, 1)
    return balance, pitch, 0.5 * visibility * tremolo * (0.12 + 0.88 * activity)


def timbre(shape: Tensor, phase: Tensor, mouth: Tensor) -> Tensor:
    """The overtones tell the shape: a ball has none, a box odd ones; an open mouth rings."""
    box = torch.sin(phase) + torch.sin(3 * phase) / 3 + torch.sin(5 * phase) / 5
    triangle = torch.sin(phase) + torch.sin(2 * phase) / 2 + torch.sin(4 * phase) / 3
    cross = torch.sin(phase) + torch.sin(4 * phase) / 2
    star = torch.sin(phase) / 2 + torch.sin(2 * phase) + torch.sin(6 * phase) / 3
    tone = torch.sin(phase)
    for index, other in enumerate((box, triangle, cross, star), 1):
        tone = torch.where(shape == index, other / 1.3, tone)
    return tone + 0.7 * mouth * torch.sin(7 * phase)


def _to_samples(curve: Tensor) -> Tensor:
    return F.interpolate(curve[:, None], size=NUM_SAMPLES, mode="linear", align_corners=True)[:, 0]
