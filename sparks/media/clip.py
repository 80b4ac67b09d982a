"""Clips with sound: reading, fitting, writing and laying them out for people to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.errors import SparksError
from sparks.files import replacing
from sparks.media.colour import from_rgb, tag_colours
from sparks.media.ffmpeg import MOST_PIXELS
from sparks.media.picture import read_frames
from sparks.media.sound import read_sound

# What AAC can store; other rates are resampled on writing.
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# Without x264's macroblock tree, which made different files of the same frames: its AVX-512 code
# uses what memory holds after rows of macroblocks that are no multiple of 8; its plain code, in
# several threads, depends on their timing.
_H264 = {"crf": "14", "preset": "medium", "mbtree": "0"}
Fit = Literal["crop", "squash"]
_SMALLEST_SHOWN = 256  # pixels: smaller clips are enlarged where people compare them


@dataclass(frozen=True)
class Clip:
    """Decoded video.

    Attributes:
        frames: `[T, 3, H, W]` float32 in [0, 1].
        fps: frames per second, exact.
        waveform: `[C, N]` float32 in [-1, 1] with C 1 or 2, or None for a silent clip.
        sample_rate: samples per second of `waveform`.

    Examples:
        >>> clip = Clip(torch.zeros(25, 3, 96, 96), fps=Fraction(25, 2))
        >>> clip.duration
        2.0
        >>> clip.cut(5).duration
        0.4
    """

    frames: Tensor
    fps: Fraction
    waveform: Tensor | None = None
    sample_rate: int = 16000

    @property
    def duration(self) -> float:
        """Seconds of picture."""
        return float(len(self.frames) / self.fps)

    def cut(self, num_frames: int) -> "Clip":
        """The first `num_frames` frames, with sound cut or padded to the same duration."""
        frames = self.frames[:num_frames]
        if self.waveform is None:
            return replace(self, frames=frames)
        samples = round(len(frames) / self.fps * self.sample_rate)
        sound = self.waveform[:, :samples]
        return replace(self, frames=frames, waveform=F.pad(sound, (0, samples - sound.shape[1])))


def read_clip(
    path: str | Path,
    *,
    fps: Fraction | None = None,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
    fit: Fit = "crop",
) -> Clip:
    """Decode a video file with its first sound track: upright, square pixels, one frame rate.

    Each frame of the clip is the file's nearest in time, so that a variable rate becomes a
    constant one and the sound stays where it was. No more is decoded, and no frame kept larger,
    than asked for.

    Args:
        path: any file that FFmpeg reads.
        fps: frames per second; the file's own by default.
        size: (height, width) to bring it to; the file's own by default.
        max_frames: most frames to read, from the first.
        fit: whether that size is filled and centre-cropped, or the whole picture squashed into it.

    Raises:
        SparksError: the file is missing, is no video, is damaged, has no picture, or too much.
    """

    def shape(frame: Tensor) -> Tensor:
        return frame if size is None else _shaped(frame, size, fit)

    frames, fps, start = read_frames(path, fps, max_frames, shape)
    sound, rate = read_sound(path, start, float(len(frames) / fps))
    return Clip(frames, fps, sound, rate).cut(len(frames))


def fit_clip(
    clip: Clip,
    *,
    multiple: int,
    temporal: int,
    size: tuple[int, int] | None = None,
    num_frames: int | None = None,
    fit: Fit = "crop",
) -> Clip:
    """Bring a clip to a shape the editor accepts: sides `multiple`*i, `temporal`*k+1 frames.

    Args:
        clip: any clip.
        multiple: pixels a side must be divisible by.
        temporal: frames per latent frame after the first.
        size: (height, width) to bring it to; None takes the multiples just below its own.
        num_frames: most frames to keep; the count is rounded down to the editor's grid.
        fit: as of `read_clip`.

    Raises:
        SparksError: the clip is too short or too small, or `size` is off the grid.
    """
    count = min(len(clip.frames), num_frames or len(clip.frames))
    if count <= temporal:
        raise SparksError(
            f"the clip has {count} usable frames; this model needs at least {temporal + 1}: "
            "give a longer video or raise clip.num_frames"
        )
    clip = clip.cut((count - 1) // temporal * temporal + 1)
    height, width = clip.frames.shape[-2:]
    target = size or (height // multiple * multiple, width // multiple * multiple)
    if min(target) == 0 or any(side % multiple for side in target):
        what = f"size {target[1]}x{target[0]}" if size else f"a clip of {width}x{height} pixels"
        raise SparksError(
            f"{what} does not fit this model: give clip.size [height, width] in multiples "
            f"of {multiple}"
        )
    if size is None and fit == "crop":
        return replace(clip, frames=_centre_crop(clip.frames, target))
    return replace(clip, frames=_shaped(clip.frames, target, fit))


def _shaped(frames: Tensor, size: tuple[int, int], fit: Fit) -> Tensor:
    if fit == "squash":
        return _scaled(frames, size, size)
    return _centre_crop(_fill(frames, size), size)


def _fill(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames scaled so that they just cover `size`."""
    height, width = frames.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    covering = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    return _scaled(frames, covering, size)


def _scaled(frames: Tensor, to: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Frames scaled bilinearly, as libswscale does; `size` is what was asked for."""
    height, width = frames.shape[-2:]
    if to == (height, width):
        return frames
    if min(size) < 1 or to[0] * to[1] > MOST_PIXELS:
        raise SparksError(
            f"size {size[1]}x{size[0]} cannot be filled from {width}x{height} pixels; "
            "choose another clip.size, or crop the video first"
        )
    return F.interpolate(frames, to, mode="bilinear", antialias=True).clamp(0, 1)


def _centre_crop(frames: Tensor, size: tuple[int, int]) -> Tensor:
    top = (frames.shape[-2] - size[0]) // 2
    left = (frames.shape[-1] - size[1]) // 2
    return frames[..., top : top + size[0], left : left + size[1]].contiguous()


def resample(waveform: Tensor, rate_from: int, rate_to: int) -> Tensor:
    """Change the sample rate of `[C, N]` to `[C, round(N * rate_to / rate_from)]`."""
    if rate_from == rate_to:
        return waveform
    resampler = av.AudioResampler(
        format="fltp", layout="mono" if len(waveform) == 1 else "stereo", rate=rate_to
    )
    parts = resampler.resample(_audio_frame(waveform, rate_from)) + resampler.resample(None)
    sound = torch.from_numpy(np.concatenate([part.to_ndarray() for part in parts], axis=1))
    samples = round(waveform.shape[1] * rate_to / rate_from)
    return F.pad(sound[:, :samples], (0, max(0, samples - sound.shape[1]))).to(waveform.device)


def _audio_frame(waveform: Tensor, rate: int) -> av.AudioFrame:
    samples = np.ascontiguousarray(waveform.detach().cpu().float().numpy())
    layout = "mono" if len(samples) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    return frame


def write_clip(path: str | Path, clip: Clip, *, comment: str | None = None) -> None:
    """Write an mp4: H.264 (yuv420p) with AAC sound, `comment` in the tag that survives remuxing.

    The file appears complete or not at all. An odd last row or column is dropped, as yuv420p
    stores colour for pairs of pixels. Colours are BT.709's, by the matrix that players take for
    a picture of this size, and tagged so.

    Examples:
        >>> write_clip("black.mp4", Clip(torch.zeros(5, 3, 96, 96), fps=Fraction(25)))
        >>> read_clip("black.mp4").frames.shape
        torch.Size([5, 3, 96, 96])
    """
    options = {"movflags": "+faststart"}
    with replacing(path) as temporary, av.open(str(temporary), "w", options=options) as container:
        if comment is not None:
            container.metadata["comment"] = comment
        video = container.add_stream("libx264", rate=clip.fps, options=_H264)
        video.pix_fmt = "yuv420p"
        video.height, video.width = (side // 2 * 2 for side in clip.frames.shape[-2:])
        tag_colours(video)
        # Every stream must be declared before the first packet fixes the header.
        sound = _sound_for_aac(clip)
        audio = container.add_stream("aac", rate=sound[1]) if sound else None
        if audio is not None and sound is not None:
            audio.layout = "mono" if len(sound[0]) == 1 else "stereo"
        _encode_frames(container, video, clip.frames)
        if audio is not None and sound is not None:
            container.mux(audio.encode(_audio_frame(*sound)))
            container.mux(audio.encode(None))


def _sound_for_aac(clip: Clip) -> tuple[Tensor, int] | None:
    if clip.waveform is None or clip.waveform.shape[1] == 0:
        return None
    rate = clip.sample_rate if clip.sample_rate in _AAC_RATES else 48000
    return resample(clip.waveform[:2], clip.sample_rate, rate).clamp(-1, 1), rate


def _encode_frames(container: Any, video: Any, frames: Tensor) -> None:
    for image in frames[..., : video.height, : video.width]:
        pixels = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu()
        container.mux(video.encode(from_rgb(np.ascontiguousarray(pixels.numpy()))))
    container.mux(video.encode(None))


def side_by_side(clips: Sequence[Clip]) -> Clip:
    """Clips from left to right at the height of the first, with the sound of the last."""
    count = min(len(clip.frames) for clip in clips)
    height = clips[0].frames.shape[-2]
    columns = [_to_height(clip.frames[:count], height) for clip in clips]
    frames = torch.cat(columns, dim=-1)
    enlarge = -(-_SMALLEST_SHOWN // height)
    frames = frames.repeat_interleave(enlarge, dim=-2).repeat_interleave(enlarge, dim=-1)
    return replace(clips[-1], frames=frames, fps=clips[0].fps).cut(count)


def _to_height(frames: Tensor, height: int) -> Tensor:
    if frames.shape[-2] == height:
        return frames.cpu()
    width = round(frames.shape[-1] * height / frames.shape[-2])
    return F.interpolate(frames, (height, width), mode="bilinear", antialias=True).cpu()


def contact_sheet(path: str | Path, rows: Mapping[str, Tensor], columns: int = 12) -> None:
    """Write a PNG with one labelled row of evenly spaced frames per clip `[T, 3, H, W]`."""
    from matplotlib.figure import Figure

    height, width = next(iter(rows.values())).shape[-2:]
    tall = 0.2 + 1.2 * height / width * len(rows)
    figure = Figure(figsize=(1.2 * columns, tall), dpi=120)
    # One pair of axes for all: making and drawing a pair for each frame took most of a second.
    axes = figure.add_axes((0.03, 0.01, 0.968, 0.99 - 0.3 / tall), frameon=False)
    for row, frames in enumerate(rows.values()):
        for column, index in enumerate(_spread(len(frames), columns)):
            image = frames[index].detach().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            cell = (column + 0.015, column + 0.985, row + 0.985, row + 0.015)
            axes.imshow(image, extent=cell, interpolation="nearest", aspect="auto")
    axes.set(xlim=(0, columns), ylim=(len(rows), 0))
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    shown = _spread(len(next(iter(rows.values()))), columns)
    axes.set_xticks([column + 0.5 for column in range(columns)], map(str, shown), fontsize=8)
    middles = [row + 0.5 for row in range(len(rows))]
    axes.set_yticks(middles, list(rows), fontsize=10, rotation=90, va="center")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _spread(count: int, columns: int) -> list[int]:
    """Evenly spaced frames of `count`, the first and the last among them."""
    indices: list[int] = torch.linspace(0, count - 1, columns).round().int().tolist()
    return indices
