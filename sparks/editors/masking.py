"""Which latent frames are regenerated (1) and which are kept (0)."""

import torch
from torch import Tensor

from sparks.editors.mel import HOP_LENGTH, SAMPLE_RATE

AUDIO_COMPRESSION = 4  # mel frames per audio latent frame


def preserved_latents(prefix_frames: int, temporal_compression: int) -> int:
    """Latent frames kept for K pixel frames: 0 for K = 0, else floor((K - 1) / s) + 1."""
    return 0 if prefix_frames == 0 else (prefix_frames - 1) // temporal_compression + 1


def audio_latent_frames(num_frames: int, fps: float) -> int:
    """Audio latent frames (25 per second) beside `num_frames` pixel frames."""
    return round(num_frames / fps * (SAMPLE_RATE / HOP_LENGTH / AUDIO_COMPRESSION))


def prefix_mask(latent_frames: int, preserved: int) -> Tensor:
    """`[F]` mask that keeps the first `preserved` latent frames."""
    return (torch.arange(latent_frames) >= preserved).float()


def video_window_mask(
    latent_frames: int, window: tuple[float, float], fps: float, temporal_compression: int
) -> Tensor:
    """`[F]` mask of the video latent frames that overlap `window` (seconds)."""
    return _overlap(_cells(latent_frames, temporal_compression) / fps, window)


def audio_window_mask(latent_frames: int, window: tuple[float, float]) -> Tensor:
    """`[L]` mask of the audio latent frames that overlap `window` (seconds)."""
    return _overlap(_cells(latent_frames, AUDIO_COMPRESSION) * HOP_LENGTH / SAMPLE_RATE, window)


def _cells(count: int, compression: int) -> Tensor:
    """`[count, 2]` bounds in frames: both codecs are causal, so the first cell is one frame."""
    edges = torch.arange(count + 1, dtype=torch.float32) * compression + 1 - compression
    return torch.stack([edges[:-1], edges[1:]], dim=-1).clamp_min(0)


def _overlap(cells: Tensor, window: tuple[float, float]) -> Tensor:
    # Strict on both sides and in float32 seconds, so that cells on the edge fall as in LTX-2.
    start, end = torch.tensor(window, dtype=torch.float32)
    return ((cells[:, 1] > start) & (cells[:, 0] < end)).float()
