"""The denoiser and its text connectors: flow matching on Retakes of the world's clips.

What is shown decides what can pull on the video. A clip's sound and prompt mostly agree; sometimes
the prompt is generic or missing (the sound must be heard), sometimes the sound is silent (the text
must be read), and sometimes they contradict: then the video follows the sound more often than the
text, so that a prompt alone seldom moves a clip whose sound says that nothing happens.

Some clips move feebly, and sound as feeble. Without them the model knows idling and acting but
nothing between, and a search that changes the sound a little sees no change at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparks.pocket import world
from sparks.pocket.training.codec import AUDIO_TOKENS, encode_audio, encode_video
from sparks.pocket.training.fast import autocast, compiles, replayed
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.training.text import hidden_states, tokenise
from sparks.pocket.words import ACTIONS, MOVING, NEGATIVE, VARIANTS

if TYPE_CHECKING:
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from transformers import Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

GRID = (7, 4, 4)  # latent frames, rows, columns
OBJECT_WEIGHT = 5.0  # of a cell that an object is in; what is there is what is hard to tell
STILL = 0.25  # share of clips in which nothing happens
HARD = ("spin", "wave", "fall", "jump_spin")  # drawn twice as often: what blurs on the way
FEEBLE = 0.35  # share of clips in which only a part of the motion happens
AGREE, GENERIC, SILENT = 0.38, 0.15, 0.17  # the rest contradict
FOLLOW_SOUND = 0.7  # of the contradicting clips
UNPROMPTED = 0.12
JOINT, FOLEY = 0.08, 0.08  # sound generated together with the video, or for a given video
ISOLATED = 0.06  # of the steps: no attention between the streams
ALPHA_NOISE = 0.35  # most noise that a given sound may carry
STORED = torch.float16  # of what is encoded


@dataclass(frozen=True)
class Cache:
    """Encoded training clips; `own`, `idle`, `other` are the sounds of three actions of a scene."""

    video: Tensor  # [M, N, C]
    weight: Tensor  # [M, N], OBJECT_WEIGHT where an object is
    own: Tensor  # [M, L, D]
    idle: Tensor
    other: Tensor
    silence: Tensor  # [S, L, D]
    feeble: Tensor  # [M] bool: the prompt says more than happens
    said: Tensor  # [M, 3] rows of `text`: own prompt, generic prompt, prompt of another action
    text: Tensor  # [P, T, D, layers]
    mask: Tensor  # [P, T]
    unprompted: int  # the last rows of `text` are the negative prompts


@torch.no_grad()
def encode_world(
    numbers: range,
    video_vae: AutoencoderKLLTX2Video,
    audio_vae: AutoencoderKLLTX2Audio,
    tokenizer: PreTrainedTokenizerFast,
    encoder: Gemma3ForConditionalGeneration,
    device: torch.device,
    seed: int,
    chunk: int = 100,
) -> Cache:
    """Render, sound and encode clips once; the renderer is slower than a training step.

    Args:
        numbers: of the clips; others give other clips of the same seed.
    """
    parts = [
        _encode_part(
            video_vae, audio_vae, device, min(chunk, numbers.stop - start), seed * 7919 + start
        )
        for start in numbers[::chunk]
    ]
    prompts = [row for part in parts for row in part.prompts]
    texts = list(dict.fromkeys(prompt for row in prompts for prompt in row))
    rows = {text: i for i, text in enumerate(texts)}
    ids, mask = tokenise(tokenizer, [*texts, *NEGATIVE], device)
    video, weight, own, idle, other, feeble = (
        torch.cat(column) for column in zip(*(part.tensors for part in parts), strict=True)
    )
    return Cache(
        video=video,
        weight=weight,
        own=own,
        idle=idle,
        other=other,
        silence=encode_audio(audio_vae, _silence(device)).to(STORED),
        feeble=feeble,
        said=torch.tensor([[rows[prompt] for prompt in row] for row in prompts], device=device),
        text=hidden_states(encoder, ids, mask),
        mask=mask,
        unprompted=len(NEGATIVE),
    )


class _Part(NamedTuple):
    """Some clips of a `Cache`: video, weight, the three sounds, feeble; and their prompts."""

    tensors: tuple[Tensor, ...]
    prompts: list[tuple[str, str, str]]


def _encode_part(
    video_vae: AutoencoderKLLTX2Video,
    audio_vae: AutoencoderKLLTX2Audio,
    device: torch.device,
    count: int,
    salt: int,
) -> _Part:
    scenes, another = (drawn.to(device) for drawn in _scenes(count, salt))
    state = world.motion(scenes, world.frame_times(device))
    frames = world.paint(scenes, state)
    versions = (scenes, scenes.acting("stay"), another)
    heard = [world.sound(version, salt) for version in versions]
    with autocast(device):
        video = pack(encode_video(video_vae, frames)).to(STORED)
        sounds = [encode_audio(audio_vae, waveform).to(STORED) for waveform in heard]
    weight = _weight(world.presence(scenes, state, frames)).to(STORED)
    rng = torch.Generator().manual_seed(salt)
    wording = torch.randint(VARIANTS, (count,), generator=rng).tolist()
    generic = scenes.prompts(wording, actions=False)
    prompts = zip(scenes.prompts(wording), generic, another.prompts(wording), strict=True)
    return _Part((video, weight, *sounds, scenes.share < 1), list(prompts))


def train_denoiser(
    networks: tuple[LTX2VideoTransformer3DModel, LTX2TextConnectors],
    cache: Cache,
    course: Course,
    rates: tuple[float, float] = (1e-3, 2.5e-3),
) -> tuple[LTX2VideoTransformer3DModel, LTX2TextConnectors]:
    """Flow matching: x_t = (1 - sigma) x_0 + sigma eps, the model predicts eps - x_0."""
    device, batch, seed = course.device, course.batch, course.seed
    denoiser, connectors = (network.to(device).train() for network in networks)
    for network in networks:
        network.requires_grad_(True)
    if compiles(device, course.steps):
        denoiser.compile_repeated_blocks()

    def drawn(step: int) -> tuple[Example, tuple[Tensor, ...]]:
        example = draw_example(cache, batch, generator(step, device, salt=seed + 1))
        return example, (*example.given, cache.text[example.text], cache.mask[example.text])

    velocities = [
        replayed(_Velocities(denoiser, connectors, isolated), drawn(0)[1])
        for isolated in (False, True)
    ]

    def loss(step: int) -> Tensor:
        example, given = drawn(step)
        outputs = velocities[step % round(1 / ISOLATED) == 0](*given)
        weight = example.video_mask * cache.weight[example.rows]
        video_error = _masked_error(outputs[0], example.video_target, weight)
        audio_error = _masked_error(outputs[1], example.audio_target, example.audio_mask)
        return video_error + 0.3 * audio_error

    rate, matrix_rate = rates
    fit(
        "denoiser",
        [denoiser, connectors],
        loss,
        course,
        learning_rate=rate,
        matrix_rate=matrix_rate,
    )
    return denoiser.eval(), connectors.eval()


class _Velocities(nn.Module):
    """Connectors and denoiser as one function of tensors alone.

    Args:
        isolated: no attention between the streams.
    """

    def __init__(
        self,
        denoiser: LTX2VideoTransformer3DModel,
        connectors: LTX2TextConnectors,
        isolated: bool,
    ) -> None:
        super().__init__()
        self.denoiser, self.connectors, self.isolated = denoiser, connectors, isolated
        self.coords = coordinates(denoiser, denoiser.device)

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        video_time: Tensor,
        audio_time: Tensor,
        video_sigma: Tensor,
        audio_sigma: Tensor,
        text: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        video_coords, audio_coords = (place.expand(len(video), -1, -1, -1) for place in self.coords)
        with autocast(video.device):
            video_text, audio_text, _ = self.connectors(text, mask, padding_side="left")
            velocities: tuple[Tensor, Tensor] = self.denoiser(
                hidden_states=video,
                audio_hidden_states=audio,
                encoder_hidden_states=video_text,
                audio_encoder_hidden_states=audio_text,
                timestep=video_time,
                audio_timestep=audio_time,
                sigma=video_sigma,
                audio_sigma=audio_sigma,
                num_frames=GRID[0],
                height=GRID[1],
                width=GRID[2],
                audio_num_frames=AUDIO_TOKENS,
                video_coords=video_coords,
                audio_coords=audio_coords,
                isolate_modalities=self.isolated,
                use_cross_timestep=True,
                return_dict=False,
            )
        return velocities


@dataclass(frozen=True)
class Example:
    """One training batch, noised."""

    rows: Tensor  # of the cache
    video: Tensor
    audio: Tensor
    video_target: Tensor
    audio_target: Tensor
    video_mask: Tensor  # [B, N], 1 = to be generated
    audio_mask: Tensor  # [B, L]
    sigma: Tensor  # [B]
    video_sigma: Tensor  # the scalar of each stream, as the other stream sees it
    audio_sigma: Tensor
    text: Tensor  # rows of the cache's text

    @property
    def given(self) -> tuple[Tensor, ...]:
        """What the denoiser is told, in the order in which `_Velocities` takes it."""
        levels = (
            self.video_mask * self.sigma[:, None],
            self.audio_mask * self.sigma[:, None],
            self.video_sigma,
            self.audio_sigma,
        )
        return (self.video, self.audio, *(1000 * level for level in levels))


def draw_example(cache: Cache, batch: int, rng: torch.Generator) -> Example:
    """Pick clips, decide what their sound and prompt say, and noise them."""
    device = cache.video.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=rng, device=device)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=rng, device=device)

    rows = torch.randint(len(cache.video), (batch,), generator=rng, device=device)
    audio, text = _story(cache, rows, uniform)
    video = cache.video[rows].float()
    sigma = _sigmas(uniform(), uniform())
    role = uniform()
    joint, foley = role < JOINT, role > 1 - FOLEY
    video_mask = _prefix(uniform()) * ~foley[:, None]
    audio_mask = (joint | foley)[:, None].float().expand(-1, AUDIO_TOKENS)
    # Sound that is to be generated must be the clip's own; given sound may be a little noisy.
    audio = torch.where((joint | foley)[:, None, None], cache.own[rows].float(), audio)
    dirt = ALPHA_NOISE * uniform(1, 1) * (uniform(1, 1) < 0.6) * (1 - audio_mask[:, :1, None])
    audio = audio + dirt * normal(audio)
    video_noise, audio_noise = normal(video), normal(audio)
    at_video = (video_mask * sigma[:, None])[..., None]
    at_audio = (audio_mask * sigma[:, None])[..., None]
    zero = uniform() < 0.25  # both conventions for the scalar of a frozen stream
    return Example(
        rows=rows,
        video=(1 - at_video) * video + at_video * video_noise,
        audio=(1 - at_audio) * audio + at_audio * audio_noise,
        video_target=video_noise - video,
        audio_target=audio_noise - audio,
        video_mask=video_mask.float(),
        audio_mask=audio_mask,
        sigma=sigma,
        video_sigma=torch.where(foley & zero, 0.0, sigma),
        audio_sigma=torch.where(~(joint | foley) & zero, 0.0, sigma),
        text=text,
    )


def coordinates(
    denoiser: LTX2VideoTransformer3DModel, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Positions of all tokens in seconds and pixels, for one clip."""
    video = denoiser.rope.prepare_video_coords(1, *GRID, device, fps=float(world.FPS))
    return video, denoiser.audio_rope.prepare_audio_coords(1, AUDIO_TOKENS, device)


def pack(latent: Tensor) -> Tensor:
    """`[B, C, F, h, w]` to tokens `[B, N, C]`, ordered frame, row, column."""
    return latent.flatten(2).transpose(1, 2)


def _story(cache: Cache, rows: Tensor, uniform: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """What each clip sounds like and what its prompt says."""
    kind, who, which = uniform(), uniform(), uniform()
    agree, generic = kind < AGREE, (kind >= AGREE) & (kind < AGREE + GENERIC)
    silent = (kind >= AGREE + GENERIC) & (kind < AGREE + GENERIC + SILENT)
    contradict = ~(agree | generic | silent)
    silent = silent & ~cache.feeble[rows]  # words alone mean the whole motion
    false_text = contradict & (who < FOLLOW_SOUND)
    false_sound = contradict & ~false_text
    said = torch.where(false_text, 2, torch.where(generic, 1, 0))
    text = cache.said[rows].gather(1, said[:, None])[:, 0]
    nothing = len(cache.text) - cache.unprompted + (which * cache.unprompted).long()
    dropped = (generic & (who < 0.4)) | (agree & (who < UNPROMPTED))
    text = torch.where(dropped, nothing, text)
    silence = cache.silence[(which * len(cache.silence)).long()]
    other = torch.where((which < 0.6)[:, None, None], cache.idle[rows], cache.other[rows])
    audio = torch.where(silent[:, None, None], silence, cache.own[rows])
    return torch.where(false_sound[:, None, None], other, audio).float(), text


def _sigmas(value: Tensor, choice: Tensor) -> Tensor:
    """Half uniform, half shifted towards noise as the inference schedule is."""
    value = value.clamp(0.01, 0.999)
    shift = math.exp(2.05)  # that of Retake, whatever the size
    shifted = shift / (shift + 1 / value - 1)
    return torch.where(choice < 0.5, value, shifted)


def _prefix(value: Tensor) -> Tensor:
    """Mask `[B, N]` that keeps 0 to 4 latent frames, most often one or two."""
    latents = torch.bucketize(value, torch.tensor([0.1, 0.4, 0.75, 0.9], device=value.device))
    frame = torch.arange(GRID[0], device=value.device).repeat_interleave(GRID[1] * GRID[2])
    return (frame[None] >= latents[:, None]).float()


def _weight(presence: Tensor) -> Tensor:
    """`[B, N]` of `presence [B, T, H, W]`: a latent frame holds the frames since the last one."""
    causal = torch.cat([presence[:, :1].expand(-1, 3, -1, -1), presence], dim=1).float()
    size = [have // cells for have, cells in zip(causal.shape[1:], GRID, strict=True)]
    return 1 + (OBJECT_WEIGHT - 1) * F.max_pool3d(causal, size).flatten(1)


def _masked_error(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    error = (output.float() - target).square().mean(-1)
    return (error * mask).sum() / mask.sum().clamp(min=1)


def _scenes(count: int, salt: int) -> tuple[world.Scenes, world.Scenes]:
    """Clips, STILL of them idle, and the same clips doing something else."""
    rng = torch.Generator().manual_seed(salt + 1)
    scenes = world.draw(count, salt, MOVING + HARD)
    still = torch.rand(count, generator=rng) < STILL
    idle = ACTIONS.index("stay")
    step = 1 + torch.randint(len(ACTIONS) - 1, (count,), generator=rng)
    action = torch.where(still, idle, scenes.action)
    share = torch.rand(count, generator=rng)
    share = torch.where(torch.rand(count, generator=rng) < FEEBLE, share, 1.0)
    scenes = replace(scenes, share=share)
    return replace(scenes, action=action), replace(scenes, action=(action + step) % len(ACTIONS))


def _silence(device: torch.device, count: int = 64) -> Tensor:
    """Nothing but noise, from none to a hiss."""
    rng = torch.Generator().manual_seed(0)
    level = 0.006 * torch.rand(count, 1, 1, generator=rng)
    level = level * (torch.rand(count, 1, 1, generator=rng) < 0.7)
    return (level * torch.randn(count, 2, world.NUM_SAMPLES, generator=rng)).to(device)
