"""What an editor caches once per clip and prompt, and the layouts of latents."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

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


@dataclass(frozen=True, kw_only=True)
class Conditioning(ABC):
    """What a search asks of any editor's conditioning; each editor adds what its renders need.

    Attributes:
        fps: frames per second.
        num_frames: pixel frames.
        prefix_latents: leading latent frames kept.
        prefix_frames_kept: pixel frames those stand for.
        prompt: the edit prompt.
        seed: of the noise.
        silence: `[1, C, T, M]` audio latent of a silent track as long as the clip, if known.
    """

    fps: float
    num_frames: int
    prefix_latents: int = 0
    prefix_frames_kept: int = 0
    prompt: str = ""
    seed: int = 0
    silence: Tensor | None = None

    noises: ClassVar[tuple[str, ...]] = ()  # fields that a seed decides, in order

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where candidates live."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_frames / self.fps

    @abstractmethod
    def with_noise(self, seed: int) -> Self:
        """The same conditioning under other noise."""

    @abstractmethod
    def with_noises(self, seeds: Sequence[int]) -> Self:
        """The same conditioning for one candidate under the noise of each seed."""

    @abstractmethod
    def with_all_kept(self) -> Self:
        """The same conditioning with nothing to regenerate: a render is the source, decoded."""

    def part(self, rows: slice, device: torch.device) -> Self:
        """The same conditioning for some candidates of a batch, on another device."""
        tensors = {name: each for name, each in vars(self).items() if isinstance(each, Tensor)}
        own = {name: tensors[name][rows] for name in self.noises if len(tensors[name]) > 1}
        moved: dict[str, Any] = {name: each.to(device) for name, each in (tensors | own).items()}
        return replace(self, **moved)

    def with_audio(self, alpha_0: Tensor) -> Self:
        """The same conditioning with `alpha_0 [1, C, T, M]` as frozen source audio.

        Asked of editors that have audio only, for what they imagined for a silent clip.
        """
        raise NotImplementedError(f"{type(self).__name__} has no audio")


@dataclass(frozen=True, kw_only=True)
class VideoConditioning(Conditioning):
    """Of a denoiser of video tokens under a text context; latents are normalised.

    Attributes:
        video_latent: `[1, N, C]` clean source video tokens.
        video_mask: `[1, N, 1]`, 1 where regenerated, 0 where kept.
        v_p: `[1, T, Dv]` text context of the video; `v_n` that of the negative prompt.
        noise_video: `[1, N, C]` start of the regenerated video tokens, or `[B, N, C]` of each of B
            candidates.
        latent_shape: latent frames, rows, columns; N is their product.
    """

    video_latent: Tensor
    video_mask: Tensor
    v_p: Tensor
    v_n: Tensor
    noise_video: Tensor
    latent_shape: tuple[int, int, int]

    noises: ClassVar[tuple[str, ...]] = ("noise_video",)

    @property
    def device(self) -> torch.device:
        """Where candidates live."""
        return self.v_p.device

    def with_noise(self, seed: int) -> Self:
        """The same conditioning under other noise."""
        return replace(self, **self._drawn([seed]), seed=seed)

    def with_noises(self, seeds: Sequence[int]) -> Self:
        """The same conditioning for one candidate under the noise of each seed."""
        return replace(self, **self._drawn(seeds))

    def with_all_kept(self) -> Self:
        """The same conditioning with nothing to regenerate: a render is the source, decoded."""
        return replace(self, video_mask=torch.zeros_like(self.video_mask))

    def _drawn(self, seeds: Sequence[int]) -> dict[str, Any]:
        one = [getattr(self, name)[:1] for name in self.noises]
        rows = zip(*(draw_noise(seed, *one) for seed in seeds), strict=True)
        return {name: torch.cat(drawn) for name, drawn in zip(self.noises, rows, strict=True)}


@dataclass(frozen=True, kw_only=True)
class LTX2Conditioning(VideoConditioning):
    """Of LTX-2, which denoises the audio beside the video, or is guided by a frozen one.

    Attributes:
        alpha_0: `[1, Ca, L, M]` audio latent of the source.
        audio_mask: `[1, L, 1]`, all 0 when the audio is frozen.
        a_p: `[1, T, Da]` text context of the audio; `a_n` that of the negative prompt.
        noise_audio: `[1, L, Ca*M]` start of the regenerated audio tokens, or `[B, L, Ca*M]`.
    """

    alpha_0: Tensor
    audio_mask: Tensor
    a_p: Tensor
    a_n: Tensor
    noise_audio: Tensor

    noises = ("noise_video", "noise_audio")

    def with_audio(self, alpha_0: Tensor) -> Self:
        """The same conditioning with `alpha_0` `[1, Ca, L, M]` as frozen source audio."""
        mask = torch.zeros_like(self.audio_mask)
        return replace(self, alpha_0=alpha_0.to(self.alpha_0), audio_mask=mask)


def draw_noise(seed: int, *like: Tensor) -> tuple[Tensor, ...]:
    """Gaussian noise shaped, typed and placed like each of `like`, drawn one after the other.

    Drawn on the CPU, so that a seed means the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(each.shape, generator=generator, dtype=each.dtype).to(each.device)
        for each in like
    )
