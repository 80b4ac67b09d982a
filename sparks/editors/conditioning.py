"""What the editor caches once per clip and prompt, and the layouts of its latents."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]  # one tensor for the video, one for the audio


def pack_video(latent: Tensor) -> Tensor:
    """`[B, C, F, H, W]` to tokens `[B, F*H*W, C]`, ordered frame, row, column."""
    return latent.flatten(2).transpose(1, 2)


def unpack_video(tokens: Tensor, latent_shape: tuple[int, int, int]) -> Tensor:
    """Tokens `[B, F*H*W, C]` to `[B, C, F, H, W]`."""
    return tokens.transpose(1, 2).unflatten(2, latent_shape)


def pack_audio(latent: Tensor) -> Tensor:
    """`[B, C, L, M]` to tokens `[B, L, C*M]`, the channel slowest."""
    return latent.transpose(1, 2).flatten(2)


def unpack_audio(tokens: Tensor, channels: int) -> Tensor:
    """Tokens `[B, L, C*M]` to `[B, C, L, M]`."""
    return tokens.unflatten(2, (channels, -1)).transpose(1, 2)


@dataclass(frozen=True)
class Conditioning:
    """Everything a render needs besides the controls; latents are normalised.

    Attributes:
        video_latent: `[1, N, C]` clean source video tokens.
        video_mask: `[1, N, 1]`, 1 where regenerated, 0 where kept.
        alpha_0: `[1, Ca, L, M]` audio latent of the source.
        audio_mask: `[1, L, 1]`, all 0 when the audio is frozen.
        v_p: `[1, T, Dv]` text context of the video; `v_n` that of the negative prompt.
        a_p: `[1, T, Da]` text context of the audio; `a_n` that of the negative prompt.
        noise_video: `[1, N, C]` start of the regenerated video tokens, or `[B, N, C]` of each of B
            candidates.
        noise_audio: `[1, L, Ca*M]` start of the regenerated audio tokens, or `[B, L, Ca*M]`.
        latent_shape: latent frames, rows, columns; N is their product.
        fps: frames per second.
        num_frames: pixel frames.
        prefix_latents: leading latent frames kept.
        prefix_frames_kept: pixel frames those stand for.
        prompt: the edit prompt.
        duration: seconds.
        seed: of the noise.
        silence: `[1, Ca, L, M]` audio latent of a silent track as long as the clip, if known.
    """

    video_latent: Tensor
    video_mask: Tensor
    alpha_0: Tensor
    audio_mask: Tensor
    v_p: Tensor
    a_p: Tensor
    v_n: Tensor
    a_n: Tensor
    noise_video: Tensor
    noise_audio: Tensor
    latent_shape: tuple[int, int, int]
    fps: float
    num_frames: int
    prefix_latents: int = 0
    prefix_frames_kept: int = 0
    prompt: str = ""
    duration: float = 0.0
    seed: int = 0
    silence: Tensor | None = None

    def with_noise(self, seed: int) -> "Conditioning":
        """The same conditioning under other noise."""
        video, audio = draw_noise(self.noise_video, self.noise_audio, seed)
        return replace(self, noise_video=video, noise_audio=audio, seed=seed)

    def with_noises(self, seeds: Sequence[int]) -> "Conditioning":
        """The same conditioning for one candidate under the noise of each seed."""
        one = (self.noise_video[:1], self.noise_audio[:1])
        drawn = zip(*(draw_noise(*one, seed) for seed in seeds), strict=True)
        video, audio = (torch.cat(rows) for rows in drawn)
        return replace(self, noise_video=video, noise_audio=audio)

    def with_audio(self, alpha_0: Tensor) -> "Conditioning":
        """The same conditioning with `alpha_0` `[1, Ca, L, M]` as frozen source audio."""
        mask = torch.zeros_like(self.audio_mask)
        return replace(self, alpha_0=alpha_0.to(self.alpha_0), audio_mask=mask)


def draw_noise(video_like: Tensor, audio_like: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Gaussian noise shaped, typed and placed like the two arguments.

    Drawn on the CPU, so that a seed means the same on every device; video first, then audio.
    """
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(video_like.shape, generator=generator, dtype=video_like.dtype)
    audio = torch.randn(audio_like.shape, generator=generator, dtype=audio_like.dtype)
    return video.to(video_like.device), audio.to(audio_like.device)
