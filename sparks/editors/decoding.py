"""The video decoder with its levers pulled."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sparks.editors.levers import Levers

# Tiles of LTX-2 1.0.0, in pixel frames: each begins 24 before the last one ends.
TILE_FRAMES, TILE_OVERLAP = 64, 24


def prepare_decoder(vae: Any, levers: Levers) -> None:
    """Lay out and compile the decoder of a video autoencoder as the levers say."""
    if levers.channels_last:
        vae.decoder.to(memory_format=torch.channels_last_3d)
    if levers.compile_decoder:
        vae.decoder.compile(backend=levers.compile_backend)


def decode(vae: Any, latent: Tensor, levers: Levers, noise_level: float | None = None) -> Tensor:
    """Pixels `[B, 3, T, H, W]` in [-1, 1] of a latent `[B, C, F, H', W']` in the vae's scale.

    `noise_level` is announced to a decoder that is conditioned on one.
    """
    if levers.channels_last:
        latent = latent.contiguous(memory_format=torch.channels_last_3d)
    level = None if noise_level is None else latent.new_full((len(latent),), noise_level)
    if levers.tiled_decode:
        return _decode_tiles(vae, latent, level)
    pixels: Tensor = vae.decode(latent, level, return_dict=False)[0]
    return pixels


def checkpoint_decoder(decoder: Any, wanted: bool) -> None:
    """Recompute the decoder in the backward pass, once, stage by stage; or not at all.

    The library's own switch also makes every layer inside a stage recompute what the stage is
    recomputing already.
    """
    decoder.gradient_checkpointing = wanted
    decoder._gradient_checkpointing_func = _recomputed


def _recomputed(module: Any, *arguments: Any) -> Any:
    return checkpoint(module, *arguments, use_reentrant=False)


def _decode_tiles(vae: Any, latent: Tensor, level: Tensor | None) -> Tensor:
    """Tiles in time of at most `TILE_FRAMES`, faded into each other where they overlap."""
    s = int(vae.temporal_compression_ratio)
    length, overlap = TILE_FRAMES // s, TILE_OVERLAP // s + 1
    whole: Tensor | None = None
    for start in range(0, max(1, latent.shape[2] - overlap), length - overlap):
        tile = vae.decode(latent[:, :, start : start + length], level, return_dict=False)[0]
        whole = tile if whole is None else _fade(whole, tile, s * start)
    assert whole is not None
    return whole


def _fade(whole: Tensor, tile: Tensor, start: int) -> Tensor:
    """Append a tile whose first frame is at `start`."""
    # A tile's first latent frame stands for a single frame, of a clip that goes back further.
    overlap = whole.shape[2] - start
    ramp = torch.linspace(0, 1, overlap, device=tile.device, dtype=tile.dtype)[:, None, None]
    seam = whole[:, :, start:] * (1 - ramp) + tile[:, :, :overlap] * ramp
    return torch.cat([whole[:, :, :start], seam, tile[:, :, overlap:]], dim=2)
