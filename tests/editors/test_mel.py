"""The log-mel front end and its inverse."""

import math

import pytest
import torch
from torch import Tensor

from sparks.editors.mel import MEL_BINS, SAMPLE_RATE, griffin_lim, log_mel


def chirp(seconds: float = 1.0) -> Tensor:
    clock = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    rising = 0.5 * torch.sin(2 * math.pi * (200 * clock + 400 * clock**2))
    fading = 0.5 * torch.sin(2 * math.pi * 440 * clock) * torch.exp(-3 * clock)
    return torch.stack([rising, fading])[None]


@pytest.mark.parametrize("samples", [56_960, 16_000, 16_159])
def test_frame_count(samples: int) -> None:
    mel = log_mel(torch.zeros(2, 2, samples))
    assert mel.shape == (2, 2, 1 + samples // 160, MEL_BINS)
    assert torch.all(mel == math.log(1e-5))


def test_equals_the_reference_filterbank() -> None:
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    waveform = chirp()
    filters = mel_filter_bank(513, 64, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    wanted = spectrogram(
        waveform[0, 0].numpy(),
        window_function(1024, "hann"),
        frame_length=1024,
        hop_length=160,
        power=1.0,
        mel_filters=filters,
        mel_floor=1e-5,
        log_mel="log",
    )
    actual = log_mel(waveform)[0, 0]
    torch.testing.assert_close(actual, torch.tensor(wanted).T.float(), atol=2e-3, rtol=1e-3)


def test_is_differentiable() -> None:
    """Twice as loud adds log(2) to what is above the floor: the derivative in loudness is 1."""
    waveform = chirp(0.2).requires_grad_()
    mel = log_mel(waveform)
    mel.sum().backward()
    assert waveform.grad is not None
    above = (mel > math.log(1e-5)).sum()
    assert float((waveform.grad * waveform.detach()).sum()) == pytest.approx(float(above), rel=1e-4)
    assert above > 1000


def test_griffin_lim_sounds_like_its_mel() -> None:
    mel = log_mel(chirp())
    waveform = griffin_lim(mel)
    assert waveform.shape == (1, 2, (mel.shape[2] - 1) * 160)
    assert waveform.abs().max() <= 1
    assert torch.equal(waveform, griffin_lim(mel))
    loud = mel > mel.amax() - 3
    assert (log_mel(waveform) - mel)[loud].abs().mean() < 0.3
