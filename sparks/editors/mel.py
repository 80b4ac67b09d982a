"""Waveform to log-mel and back, as the LTX-2 audio autoencoder expects it."""

from functools import lru_cache

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
N_FFT = 1024
HOP_LENGTH = 160
MEL_BINS = 64
MAX_FREQUENCY = 8_000.0
FLOOR = 1e-5

_LINEAR_STEP = 200.0 / 3  # Slaney scale: linear below 1 kHz, logarithmic above
_LOG_START_HZ = 1_000.0
_LOG_STEP = torch.log(torch.tensor(6.4, dtype=torch.float64)).item() / 27


def log_mel(waveform: Tensor) -> Tensor:
    """Log of the Slaney mel magnitude spectrogram, differentiable.

    Args:
        waveform: `[B, C, N]` in [-1, 1] at 16 kHz, N > 512; mono must already be duplicated.

    Returns:
        `[B, C, T, 64]` with `T = 1 + N // 160`, natural logarithm floored at 1e-5.
    """
    batch, channels, samples = waveform.shape
    spectrum = _stft(waveform.reshape(batch * channels, samples)).abs()  # [BC, bins, T]
    mel = torch.einsum("mf,cft->ctm", _filterbank(waveform.device), spectrum)
    return mel.clamp_min(FLOOR).log().unflatten(0, (batch, channels))


def griffin_lim(mel: Tensor, *, iterations: int = 60, momentum: float = 0.99) -> Tensor:
    """Waveform whose log-mel is close to `mel` (fast Griffin-Lim, Perraudin et al. 2013).

    Args:
        mel: `[B, C, T, 64]` log-mel at 16 kHz.
        iterations: phase refinements.
        momentum: acceleration of the phase estimate.

    Returns:
        `[B, C, (T - 1) * 160]` in [-1, 1]. Deterministic.
    """
    batch, channels, frames, _ = mel.shape
    inverse = torch.linalg.pinv(_filterbank(mel.device))
    magnitude = (inverse @ mel.flatten(0, 1).exp().float().transpose(1, 2)).clamp_min(0)
    phase = _random_phase(magnitude)
    previous = torch.zeros_like(phase)
    for _ in range(iterations):
        rebuilt = _stft(_istft(magnitude * phase, frames))
        phase = rebuilt - momentum / (1 + momentum) * previous
        phase = phase / phase.abs().clamp_min(1e-12)
        previous = rebuilt
    return _istft(magnitude * phase, frames).clamp(-1, 1).unflatten(0, (batch, channels))


def _stft(waveform: Tensor) -> Tensor:
    window = torch.hann_window(N_FFT, device=waveform.device)
    return torch.stft(
        waveform.float(), N_FFT, HOP_LENGTH, window=window, center=True, return_complex=True
    )


def _istft(spectrum: Tensor, frames: int) -> Tensor:
    window = torch.hann_window(N_FFT, device=spectrum.device)
    return torch.istft(spectrum, N_FFT, HOP_LENGTH, window=window, length=(frames - 1) * HOP_LENGTH)


def _random_phase(magnitude: Tensor) -> Tensor:
    # A fixed seed on the CPU: random phases converge better than zeros, and stay reproducible.
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(magnitude.shape, generator=generator) * (2 * torch.pi)
    return torch.polar(torch.ones_like(angle), angle).to(magnitude.device)


@lru_cache(maxsize=8)
def _filterbank(device: torch.device) -> Tensor:
    """`[64, 513]` triangles, equally spaced on the Slaney scale and of unit area (Slaney norm)."""
    bins = torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)
    top = _hz_to_mel(torch.tensor(MAX_FREQUENCY, dtype=torch.float64)).item()
    edges = _mel_to_hz(torch.linspace(0, top, MEL_BINS + 2, dtype=torch.float64))
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles * 2 / (high - low)).float().to(device)


def _hz_to_mel(hz: Tensor) -> Tensor:
    logarithmic = _LOG_START_HZ / _LINEAR_STEP + (hz / _LOG_START_HZ).log() / _LOG_STEP
    return torch.where(hz < _LOG_START_HZ, hz / _LINEAR_STEP, logarithmic)


def _mel_to_hz(mel: Tensor) -> Tensor:
    start = _LOG_START_HZ / _LINEAR_STEP
    exponential = _LOG_START_HZ * ((mel - start) * _LOG_STEP).exp()
    return torch.where(mel < start, mel * _LINEAR_STEP, exponential)
