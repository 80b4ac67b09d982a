"""The sound beside a picture, mono or mixed to stereo, in time with it."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.errors import SparksError
from sparks.media.ffmpeg import Notes, fraction, opened
from sparks.media.packets import decoded
from sparks.media.speakers import arranged, take_speakers
from sparks.media.streams import sounds

_JITTER = 0.05  # seconds that sound may stray from its timestamps before they are believed


def read_sound(
    path: str | Path, start: Fraction, seconds: float
) -> tuple[Tensor, int] | tuple[None, int]:
    """Decode the sound that a player would play, from `start` on.

    Returns:
        Waveform `[C, N]` in [-1, 1], N at most a little over `seconds`, and its rate; or None.

    Raises:
        SparksError: there is sound, and none of it can be decoded.
    """
    with opened(path) as container:
        order = [stream.index for stream in sounds(container)]
    unreadable: list[int] = []
    for index in order:
        notes = Notes(path)
        for other in unreadable:
            notes.add(f"its sound in stream {other} cannot be decoded; stream {index} is read")
        with opened(path) as container:
            stream = container.streams[index]
            waveform = _read(container, stream, start, seconds, notes)
            if waveform is None:
                unreadable.append(index)
            elif waveform.shape[1]:
                notes.tell()
                return waveform.nan_to_num().clamp(-1, 1), stream.rate
    if unreadable:
        raise SparksError(f"cannot decode the sound of {path}; re-encode it, or remove it")
    return None, 16000


def _read(
    container: Any, stream: Any, start: Fraction, seconds: float, notes: Notes
) -> Tensor | None:
    """`[C, N]` from `start` on, N 0 where the stream is empty; None if nothing can be decoded."""
    if stream.codec_context is None or not stream.rate:
        return None
    speakers = take_speakers(stream.codec_context)
    if not speakers:
        return None
    frames = arranged(decoded(container, stream, notes), speakers)
    parts = _resampled(frames, stream.rate, len(speakers))
    chunks, broken = _laid_out(parts, stream.rate, start, seconds)
    if not chunks:
        return None if broken else torch.zeros(1, 0)
    return torch.cat(chunks, dim=1)


def _laid_out(
    parts: Iterable[Any], rate: int, start: Fraction, seconds: float
) -> tuple[list[Tensor], bool]:
    """Samples in time with the picture: silence fills what is missing, a cut catches up.

    Returns:
        Chunks `[C, n]`, and whether anything between them was broken.
    """
    chunks: list[Tensor] = []
    filled, broken, lost = 0, False, False
    for part in parts:
        if part is None:
            broken = lost = True
            continue
        chunk = torch.from_numpy(part.to_ndarray())
        due = None if part.pts is None else part.pts * fraction(part.time_base) - start
        gap = 0 if due is None else round(due * rate) - filled
        if not filled or lost or abs(gap) > _JITTER * rate:
            chunk, lost = F.pad(chunk, (max(gap, -chunk.shape[1]), 0)), False
        chunks.append(chunk)
        filled += chunk.shape[1]
        if filled >= seconds * rate:
            break
    return (chunks if filled else []), broken


def _resampled(frames: Iterable[Any], rate: int, channels: int) -> Iterator[Any]:
    """Planar float parts of the same sound; a track may change its form on the way."""
    layout = "mono" if channels == 1 else "stereo"
    resamplers: dict[tuple[str, str, int], av.AudioResampler] = {}
    for frame in frames:
        if frame is None:
            yield None
            continue
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form not in resamplers:
            resamplers[form] = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        yield from resamplers[form].resample(frame)
    for resampler in resamplers.values():
        yield from (part for part in resampler.resample(None) if part is not None)
