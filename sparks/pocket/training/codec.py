"""The two autoencoders: frames to video latent, waveform's log-mel to audio latent.

Object pixels weigh far more than background ones, or the video codec learns to paint empty rooms;
and it first learns on single frames, which are many times cheaper than clips.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.editors.mel import log_mel
from sparks.pocket import world
from sparks.pocket.training import models
from sparks.pocket.training.fast import autocast
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.words import MOVING

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video

OBJECT_WEIGHT = 13.0
LATENT_NOISE = 0.08  # of unit scale: the decoder must not rely on hairline differences
TURNING = (*MOVING, *("spin", "wave", "jump_spin") * 5)  # what the decoder goes on with
LATENT_DECAY = 3e-4  # keeps the latent near unit scale
AUDIO_TOKENS = 50


def train_video(course: Course, sample: int = 16) -> AutoencoderKLLTX2Video:
    """Frames first, then clips; returns the autoencoder with its latent statistics set.

    Args:
        sample: batches of clips that the statistics are taken over.
    """
    device, batch, seed = course.device, course.batch, course.seed
    torch.manual_seed(seed)
    vae = models.video_autoencoder().to(device)
    steps, minutes = round(0.18 * course.steps), 0.2 * course.minutes
    single = replace(course, steps=steps, minutes=minutes)
    clips = replace(course, steps=course.steps - steps, minutes=0.8 * course.minutes)

    def frames_loss(step: int) -> Tensor:
        scenes = world.draw(batch * 8, seed * 7919 + step).to(device)
        instants = world.DURATION * torch.rand(3, generator=generator(step, device), device=device)
        state = world.motion(scenes, instants)  # any three moments, shared by the batch
        rng = generator(step, device, 1)
        picks = torch.randint(3, (len(scenes),), generator=rng, device=device)
        moment = state[torch.arange(len(scenes), device=device), picks]
        return reconstruction_loss(vae, scenes, moment[:, None], step)

    def clips_loss(step: int) -> Tensor:
        scenes = world.draw(batch, seed * 7919 + 10_000_000 + step).to(device)
        state = world.motion(scenes, world.frame_times(device))
        return reconstruction_loss(vae, scenes, state, step)

    fit("video_vae_frames", [vae], frames_loss, single, learning_rate=8e-4)
    fit("video_vae", [vae], clips_loss, clips, learning_rate=6e-4)
    with torch.no_grad():
        views = (world.render(_scenes(i, device)) for i in range(sample))
        latents = torch.cat([encode_video(vae, frames, raw=True) for frames in views])
        vae.latents_mean.copy_(latents.mean((0, 2, 3, 4)))
        vae.latents_std.copy_(latents.std((0, 2, 3, 4)))
    return vae.eval()


def train_decoder(vae: AutoencoderKLLTX2Video, course: Course) -> AutoencoderKLLTX2Video:
    """Go on with the decoder alone, mostly on objects that turn, which it makes round else.

    The latent stays what it is, and with it what the denoiser has learnt.
    """
    device, batch, seed = course.device, course.batch, course.seed
    vae.to(device).requires_grad_(False)
    vae.decoder.requires_grad_(True).train()

    def loss(step: int) -> Tensor:
        scenes = world.draw(batch, seed * 7919 + 30_000_000 + step, TURNING).to(device)
        state = world.motion(scenes, world.frame_times(device))
        return reconstruction_loss(vae, scenes, state, step)

    fit("video_decoder", [vae.decoder], loss, course, learning_rate=5e-4)
    return vae.eval()


def reconstruction_loss(
    vae: AutoencoderKLLTX2Video, scenes: world.Scenes, state: Tensor, step: int
) -> Tensor:
    """Weighted error of `paint(state)` through the codec, its latent blurred by a little noise."""
    frames = world.paint(scenes, state)
    near = F.max_pool2d(world.presence(scenes, state, frames).float(), 3, stride=1, padding=1)
    weight = (1 + (OBJECT_WEIGHT - 1) * near)[:, None]
    target = (frames * 2 - 1).transpose(1, 2)  # [B, 3, T, H, W]
    with autocast(target.device):
        latent = vae.encode(target).latent_dist.mode()
        rng = generator(step, latent.device, 2)
        noise = torch.randn(latent.shape, generator=rng, device=latent.device)
        output = vae.decode(latent + LATENT_NOISE * noise).sample.float()
    error = (output - target).abs() * 0.3 + (output - target).square()
    mean = (weight * error).sum() / weight.expand_as(error).sum()
    return mean + LATENT_DECAY * latent.float().square().mean()


def train_audio(course: Course, sample: int = 16) -> AutoencoderKLLTX2Audio:
    """Mean absolute error of the log-mel; returns the autoencoder, latent statistics set.

    Args:
        sample: batches of sounds that the statistics are taken over.
    """
    device, batch, seed = course.device, course.batch, course.seed
    torch.manual_seed(seed)
    vae = models.audio_autoencoder().to(device)

    def loss(step: int) -> Tensor:
        mel = log_mel(sounds(world.draw(batch, seed * 7919 + step).to(device), step))
        with autocast(device):
            latent = vae.encode(mel).latent_dist.mode()
            noise = torch.randn(latent.shape, generator=generator(step, device), device=device)
            output = vae.decode(latent + LATENT_NOISE * noise).sample.float()
        target = mel[:, :, : output.shape[2]]
        error = F.l1_loss(output[:, :, : target.shape[2]], target)
        return error + LATENT_DECAY * latent.float().square().mean()

    fit("audio_vae", [vae], loss, course, learning_rate=1e-3)
    with torch.no_grad():
        waveforms = (world.sound(_scenes(i, device)) for i in range(sample))
        tokens = torch.cat([encode_audio(vae, waveform, raw=True) for waveform in waveforms])
        vae.latents_mean.copy_(tokens.mean((0, 1)))
        vae.latents_std.copy_(tokens.std((0, 1)))
    return vae.eval()


def sounds(scenes: world.Scenes, step: int) -> Tensor:
    """The scenes' sound at random loudness, now and then silent."""
    rng = torch.Generator().manual_seed(step)
    gain = 0.4 + 0.8 * torch.rand(len(scenes), 1, 1, generator=rng)
    gain = gain * (torch.rand(len(scenes), 1, 1, generator=rng) > 0.03)
    return world.sound(scenes, seed=step) * gain.to(scenes.x.device)


@torch.no_grad()
def encode_video(vae: AutoencoderKLLTX2Video, frames: Tensor, raw: bool = False) -> Tensor:
    """`[B, T, 3, H, W]` in [0, 1] to the normalised latent `[B, C, F, h, w]`."""
    latent = vae.encode((frames * 2 - 1).transpose(1, 2)).latent_dist.mode().float()
    if raw:
        return latent
    shape = (1, -1, 1, 1, 1)
    return (latent - vae.latents_mean.view(shape)) / vae.latents_std.view(shape)


def decode_video(vae: AutoencoderKLLTX2Video, latent: Tensor) -> Tensor:
    """The reverse of `encode_video`, clamped to [0, 1]."""
    shape = (1, -1, 1, 1, 1)
    raw = latent * vae.latents_std.view(shape) + vae.latents_mean.view(shape)
    return (vae.decode(raw).sample.float().transpose(1, 2) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def encode_audio(vae: AutoencoderKLLTX2Audio, waveform: Tensor, raw: bool = False) -> Tensor:
    """`[B, 2, N]` to normalised tokens `[B, 50, channels x bins]`."""
    with torch.autocast(waveform.device.type, enabled=False):
        mel = log_mel(waveform)
    latent = vae.encode(mel).latent_dist.mode().float()
    tokens = latent[:, :, :AUDIO_TOKENS].transpose(1, 2).flatten(2)
    return tokens if raw else (tokens - vae.latents_mean) / vae.latents_std


def _scenes(index: int, device: torch.device) -> world.Scenes:
    return world.draw(64, 900_000_000 + index).to(device)
