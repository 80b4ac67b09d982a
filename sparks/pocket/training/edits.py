"""What edits look like: Retakes of the world's clips under the controls that searches come by.

Some are made from sounds on the way from the clip's own to that of the action asked for, or to
silence, and past it; some from random places of the space that is searched; some by searches that
please a critic, which show the next ones what to doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.editors import LTX2Editor, Sampling
from sparks.editors.conditioning import LTX2Conditioning, draw_noise, unpack_audio
from sparks.editors.controls import Controls
from sparks.media.clip import Clip
from sparks.pocket import world
from sparks.pocket.training import parallel
from sparks.pocket.training.codec import encode_audio, encode_video
from sparks.pocket.training.denoiser import pack
from sparks.pocket.training.fast import autocast, plain_attention
from sparks.pocket.training.shown import Shown, each, shown
from sparks.pocket.words import ACTIONS, MOVING, VARIANTS
from sparks.spaces.low import TemporalSpace

TOGETHER = 128  # clips retaken at once
SEARCHED = 64  # at once, with their gradients
LOOKED = 5  # places that a search looks at, each under noise of its own, before it climbs
SPREAD = 1.5  # most standard deviation of random coordinates, as in the solver `hybrid`
CLIMBED = 8  # steps of a search
WANDERED = 15  # of one without gradient, after as many looks
NEARBY = 0.7  # its first step, of the distance of a look; the last is a quarter of that
KEEP_EVERY = 4  # steps
SAMPLING = Sampling(num_inference_steps=8, grad_steps=4)

#: Log odds `[B]` that frames `[B, T, 3, H, W]` in [0, 1] show what was asked for.
Please: TypeAlias = Callable[[Tensor], Tensor]
#: A critic's, of the scenes asked for and the wordings of their prompts.
Pleasing: TypeAlias = Callable[[world.Scenes, list[int]], Please]


def random_edits(editor: LTX2Editor, count: int, seed: int) -> Shown:
    """`count` edits, with the scenes that were asked for."""

    def edit(take: _Take) -> Iterator[Tensor]:
        along, kind = take.uniform(1.3), take.uniform()
        noise = 0.5 * take.uniform() ** 2 * take.normal(*take.alpha.shape[1:])
        goal = torch.where(kind < 0.4, take.towards, take.silence)
        sound = along * (goal - take.alpha) * (kind < 0.7) + noise
        yield take.render(take.coordinates(), sound)

    return _edited(editor, count, seed, edit, TOGETHER)


def searched_edits(editor: LTX2Editor, count: int, seed: int, pleasing: Pleasing) -> Shown:
    """Of `count` searches where they begin to climb, and every KEEP_EVERY-th step.

    They go about it as `sparks.solvers.hybrid` does, without knowing it.
    """

    def edit(take: _Take) -> Iterator[Tensor]:
        please = pleasing(take.scenes, take.wordings)
        best = take.best_of(LOOKED, please)
        yield best.frames
        z = best.z.requires_grad_()
        stepper = torch.optim.Adam([z], take.space.rate)
        for step in range(1, CLIMBED + 1):
            with torch.enable_grad():
                frames = take.render(z, best.sound, gradient=True)
                (z.grad,) = torch.autograd.grad(-F.logsigmoid(please(frames)).sum(), z)
            stepper.step()
            if step % KEEP_EVERY == 0:
                yield frames.detach()

    return _edited(editor, count, seed, edit, SEARCHED)


def evolved_edits(editor: LTX2Editor, count: int, seed: int, pleasing: Pleasing) -> Shown:
    """Of `count` searches without gradient: the best look, every KEEP_EVERY-th step, the best step.

    They step from the best so far, ever less far, as evolution does; so what they end at is what
    pleases a critic, rightly or not, and the steps are what lies next to it.
    """

    def edit(take: _Take) -> Iterator[Tensor]:
        please = pleasing(take.scenes, take.wordings)
        best = take.best_of(WANDERED, please)
        yield best.frames
        for step in range(1, WANDERED + 1):
            near = take.near(best, NEARBY * 0.25 ** (step / WANDERED), please)
            if step % KEEP_EVERY == 0:
                yield near.frames
            best = near.or_better(best)
        yield best.frames

    return _edited(editor, count, seed, edit, TOGETHER)


@torch.no_grad()
def _edited(
    editor: LTX2Editor,
    count: int,
    seed: int,
    edit: Callable[[_Take], Iterator[Tensor]],
    together: int,
) -> Shown:
    own = parallel.share(count)
    first = parallel.rank() * own
    frames, scenes = [], []
    with autocast(editor.device), plain_attention(editor.device):
        for start in range(0, own, together):
            take = _Take(editor, min(together, own - start), seed * 7919 + first + start)
            for made in edit(take):
                frames.append((255 * made).round().byte())
                scenes.append(take.scenes)
    return shown(torch.cat(frames), each(torch.cat, *scenes), doubted=True)


@dataclass(frozen=True)
class _Place:
    """Where searches of `B` clips are, and what is seen there."""

    z: Tensor  # [B, k]
    sound: Tensor  # [B, Ca, L, M], beside what z adds to it
    noise: Tensor  # [B, tokens, channels]
    frames: Tensor  # [B, T, 3, H, W]
    odds: Tensor  # [B] of a yes

    def or_better(self, other: _Place) -> _Place:
        """Of each clip the place with the higher odds."""
        better = other.odds > self.odds

        def pick(parts: tuple[Tensor, Tensor]) -> Tensor:
            return torch.where(better.view(-1, *[1] * (parts[0].ndim - 1)), parts[1], parts[0])

        return each(pick, self, other)


class _Take:
    """Clips about to be edited together, each to a prompt of its own.

    Half of them are of idle objects, the others of ones that do something else.

    Attributes:
        scenes: as they were asked for.
        wordings: of their prompts.
        alpha: `[B, Ca, L, M]`, their sound.
        towards: the sound of what was asked for.
        silence: that of nothing at all.
        space: where searches search, around the first of them.
    """

    def __init__(self, editor: LTX2Editor, count: int, salt: int) -> None:
        device = self._device = editor.device
        self._editor = editor
        self._rng = torch.Generator().manual_seed(salt)
        self.scenes = world.draw(count, salt + 50_000_000, MOVING).to(device)
        other = torch.randint(1, len(ACTIONS), (count,), generator=self._rng).to(device)
        other = (self.scenes.action + other) % len(ACTIONS)
        idle = self.uniform().flatten() < 0.5
        source = replace(self.scenes, action=torch.where(idle, ACTIONS.index("stay"), other))
        self.wordings = torch.randint(VARIANTS, (count,), generator=self._rng).tolist()
        self.alpha, self.towards = (self._heard(scenes) for scenes in (source, self.scenes))
        tokens = encode_audio(editor.audio_vae, torch.zeros_like(world.sound(source[:1])))
        self.silence = unpack_audio(tokens, editor.audio_vae.config.latent_channels)
        self._conditioning = self._prepared(source, salt)
        still = editor.start(self._conditioning).delta_v[:1]
        self.space = TemporalSpace(Controls(self.alpha[:1], still))

    def uniform(self, high: float = 1.0) -> Tensor:
        """One number for each clip, `[B, 1, 1, 1]`."""
        return high * torch.rand(len(self.scenes), 1, 1, 1, generator=self._rng).to(self._device)

    def normal(self, *shape: int) -> Tensor:
        """`[B, *shape]`."""
        return torch.randn(len(self.scenes), *shape, generator=self._rng).to(self._device)

    def coordinates(self) -> Tensor:
        """Random places `[B, k]` of the space, nearer and farther."""
        return SPREAD * self.uniform()[:, :, 0, 0] * self.normal(self.space.dim)

    def best_of(self, count: int, please: Please) -> _Place:
        """The best of some places; the noise of each stays the clip's."""
        best: _Place | None = None
        for _ in range(count):
            self._conditioning = self._renoised()
            sound = (self.uniform() < 0.5) * self.uniform(1.3) * (self.silence - self.alpha)
            place = self._look(self.coordinates(), sound, please)
            best = place if best is None else best.or_better(place)
        assert best is not None
        self._conditioning = replace(self._conditioning, noise_video=best.noise)
        return best

    def near(self, place: _Place, distance: float, please: Please) -> _Place:
        """A random step from a place, under its noise."""
        z = place.z + distance * self.coordinates()
        louder = 0.5 * distance * self.normal(1, 1, 1) * (place.sound != 0)
        return self._look(z, place.sound + louder * (self.silence - self.alpha), please)

    def _look(self, z: Tensor, sound: Tensor, please: Please) -> _Place:
        frames = self.render(z, sound)
        return _Place(z, sound, self._conditioning.noise_video, frames, please(frames))

    def _renoised(self) -> LTX2Conditioning:
        old = self._conditioning
        seed = int(torch.randint(2**31, (), generator=self._rng))
        (noise,) = draw_noise(seed, old.noise_video)
        return replace(old, noise_video=noise)

    def render(self, z: Tensor, sound: Tensor | float = 0.0, *, gradient: bool = False) -> Tensor:
        """Frames `[B, T, 3, H, W]` in [0, 1] at the coordinates `z`, with `sound` added."""
        moved = self.space.decode(z)
        alpha = self.alpha + moved.alpha - self.space.start.alpha + sound
        return self._editor.render(
            self._conditioning,
            Controls(alpha, moved.delta_v),
            sampling=SAMPLING,
            gradient=gradient,
        )

    def _heard(self, scenes: world.Scenes) -> Tensor:
        tokens = encode_audio(self._editor.audio_vae, world.sound(scenes))
        return unpack_audio(tokens, self._editor.audio_vae.config.latent_channels)

    def _prepared(self, source: world.Scenes, seed: int) -> LTX2Conditioning:
        """What the editor prepares of one clip, for all of them."""
        editor, frames = self._editor, world.render(source)
        clip = Clip(frames[0].cpu(), world.FPS, world.sound(source[:1])[0].cpu(), world.SAMPLE_RATE)
        one = editor.prepare(clip, "", prefix_frames=5)
        video = pack(encode_video(editor.vae, frames))
        spoken = [editor.texts.encode(p) for p in self.scenes.prompts(self.wordings)]
        v_p, a_p = (torch.cat(parts) for parts in zip(*spoken, strict=True))
        (noise,) = draw_noise(seed, video)
        return replace(one, video_latent=video, v_p=v_p, a_p=a_p, noise_video=noise)
