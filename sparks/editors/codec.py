"""Pixels to normalised latents and back, through a frozen video autoencoder."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparks.editors.decoding import (
    checkpoint_decoder,
    decode,
    prepare_decoder,
)
from sparks.editors.footprint import decoder_bytes
from sparks.editors.masking import prefix_mask, preserved_latents, video_window_mask
from sparks.errors import SparksError
from sparks.models.machine import free_memory

if TYPE_CHECKING:
    from sparks.editors.levers import Levers
    from sparks.media.clip import Clip


class VideoCodec:
    """A causal video autoencoder: the first latent frame is one frame, each other one s frames.

    Args:
        vae: the network, frozen, with `latents_mean` and `latents_std`; kept as an attribute.
        levers: how its decoder is run.
        device: where it is.
        dtype: that it computes in.
    """

    def __init__(
        self, vae: Any, levers: "Levers", device: torch.device, dtype: torch.dtype
    ) -> None:
        self.vae, self.levers, self.device, self.dtype = vae, levers, device, dtype
        prepare_decoder(vae, levers)

    @property
    def spatial_multiple(self) -> int:
        """Height and width of a clip must be multiples of this."""
        return int(self.vae.spatial_compression_ratio)

    @property
    def temporal_compression(self) -> int:
        """s: a clip must have s * k + 1 frames."""
        return int(self.vae.temporal_compression_ratio)

    def check_size(self, clip: "Clip") -> None:
        """Refuse a clip whose shape the codec cannot keep.

        Raises:
            SparksError: naming the shape and the nearest one that fits.
        """
        frames, _, height, width = clip.frames.shape
        multiple, s = self.spatial_multiple, self.temporal_compression
        if height % multiple or width % multiple:
            raise SparksError(
                f"clip is {width}x{height}; both must be multiples of {multiple}, fit it first"
            )
        if frames % s != 1 % s:
            fitting = (frames - 1) // s * s + 1
            raise SparksError(f"clip has {frames} frames, not {s}k+1; cut it to {fitting}")

    def region(
        self,
        clip: "Clip",
        latent_frames: int,
        prefix_frames: int | None,
        window: tuple[float, float] | None,
    ) -> Tensor:
        """`[F]` mask of the latent frames to regenerate, checked to be one region and not empty.

        Args:
            clip: what is edited.
            latent_frames: F.
            prefix_frames: K frames to keep; or else
            window: seconds to regenerate, start and end.

        Raises:
            SparksError: nothing, or not one region, is chosen.
        """
        num_frames, fps = len(clip.frames), float(clip.fps)
        if prefix_frames is not None and window is None:
            if not 0 <= prefix_frames < num_frames:
                raise SparksError(
                    f"prefix_frames is {prefix_frames}; choose 0 to {num_frames - 1}, "
                    f"the clip has {num_frames} frames"
                )
            latents_kept = preserved_latents(prefix_frames, self.temporal_compression)
            return prefix_mask(latent_frames, latents_kept)
        if window is None or prefix_frames is not None:
            raise SparksError("give one of prefix_frames and window: the region to regenerate")
        start, end = window
        mask = video_window_mask(latent_frames, window, fps, self.temporal_compression)
        if not (0 <= start < end and mask.any()):
            raise SparksError(
                f"window {start}:{end} holds no frame; the clip lasts {num_frames / fps:.2f} s"
            )
        return mask

    def encode(self, frames: Tensor) -> Tensor:
        """Normalised latent `[1, C, F, H', W']` of frames `[T, 3, H, W]` in [0, 1]."""
        pixels = (frames * 2 - 1).transpose(0, 1)[None].to(self.device, self.dtype)
        latent = self.vae.encode(pixels).latent_dist.mode()
        mean, std = self._statistics()
        return (latent - mean) * self.vae.config.scaling_factor / std

    def decode(self, latent: Tensor, noise_level: float | None = None) -> Tensor:
        """Frames `[B, T, 3, H, W]` in [0, 1] of normalised latents `[B, C, F, H', W']`.

        `noise_level` is announced to decoders that are conditioned on one.
        """
        mean, std = self._statistics()
        latent = latent / self.vae.config.scaling_factor * std + mean
        pixels = decode(self.vae, latent.to(self.dtype), self.levers, noise_level)
        return ((pixels.float() + 1) / 2).clamp(0, 1).transpose(1, 2)

    def checkpoint(
        self, wanted: bool, batch: int, num_frames: int, latent_shape: tuple[int, int, int]
    ) -> None:
        """Recompute the decoder in the backward pass if `wanted` and memory is short.

        Args:
            wanted: whether recomputing is allowed; a lever overrules it.
            batch: candidates decoded together.
            num_frames: of each.
            latent_shape: latent frames, rows and columns of each.
        """
        chosen = self.levers.decoder_checkpointing
        if chosen is None:
            pixels = batch * num_frames * math.prod(latent_shape[1:]) * self.spatial_multiple**2
            channels = self.vae.config.decoder_block_out_channels[0]
            needed = decoder_bytes(pixels, channels, self.dtype.itemsize)
            chosen = wanted and needed > free_memory(self.device) / 2
        checkpoint_decoder(self.vae.decoder, chosen)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.vae.latents_mean.view(shape), self.vae.latents_std.view(shape)
