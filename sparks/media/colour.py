"""What the numbers of a frame mean as colours of a screen (BT.709, gamma 2.4).

A file's tags say by which matrix its colours were stored, in which range, and how bright its
numbers are meant. Without a matrix, players guess it by the size of the picture, and so do we.
"""

from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from torch import Tensor

from sparks.media.ffmpeg import Notes

_UNSAID = 2  # of a matrix, in FFmpeg's numbers
_BT709, _BT601, _BT2020 = 1, 5, 9  # of matrices, in libswscale's
_HDR = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
_WIDE = {  # to BT.709 in linear light
    ColorPrimaries.BT2020: (
        (1.660491, -0.587641, -0.072850),
        (-0.124550, 1.132900, -0.008349),
        (-0.018151, -0.100579, 1.118730),
    ),
    ColorPrimaries.SMPTE432: (  # Display P3
        (1.224940, -0.224940, 0.0),
        (-0.042057, 1.042057, 0.0),
        (-0.019638, -0.078636, 1.098274),
    ),
}
_LUMA = (0.2627, 0.6780, 0.0593)  # of BT.2020
_WHITE, _PEAK = 203.0, 1000.0  # nits: of paper (BT.2408), and of what HLG is graded for
_KNEE = 0.7  # of white: where highlights begin to be pressed together
_SCREEN = 2.4  # gamma of BT.1886


def guessed_matrix(width: int, height: int) -> int:
    """BT.709 from 1280 columns or 577 lines on, else BT.601."""
    return _BT709 if width >= 1280 or height > 576 else _BT601


def rgb(frame: Any, size: tuple[int, int]) -> Tensor:
    """`[1, 3, H, W]` in [0, 1], as bright as it is stored; `size` is (width, height)."""
    deep = _is_odd(frame)
    pixels = frame.to_ndarray(
        format="rgb48le" if deep else "rgb24",
        width=size[0],
        height=size[1],
        src_colorspace=_matrix(frame),
    )
    image = torch.from_numpy(pixels.astype("int32") if deep else pixels)
    return image.permute(2, 0, 1)[None].float() / (65535 if deep else 255)


def tag_colours(stream: Any) -> None:
    """Tags for a stream that is to hold frames of `from_rgb`."""
    matrix = guessed_matrix(stream.width, stream.height)
    stream.codec_context.colorspace = 1 if matrix == _BT709 else 6
    stream.codec_context.color_range = ColorRange.MPEG
    stream.codec_context.color_primaries = ColorPrimaries.BT709
    stream.codec_context.color_trc = ColorTrc.BT709


def from_rgb(pixels: np.ndarray) -> Any:
    """A yuv420p frame of `[H, W, 3]` bytes, by the matrix that players guess."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(
        format="yuv420p", dst_colorspace=guessed_matrix(frame.width, frame.height)
    )


def _matrix(frame: Any) -> int | None:
    if frame.colorspace != _UNSAID or frame.format.is_rgb:
        return None  # as the frame says
    if frame.color_trc in _HDR or frame.color_primaries == ColorPrimaries.BT2020:
        return _BT2020
    return guessed_matrix(frame.width, frame.height)


def _is_odd(frame: Any) -> bool:
    """Whether its numbers mean other colours than a screen's."""
    return frame.color_trc in _HDR or frame.color_primaries in _WIDE


def on_screen(image: Tensor, frame: Any, notes: Notes) -> Tensor:
    """An image as stored, of a frame, as a screen shows it.

    High dynamic range is mapped so that paper white becomes nearly white and whatever is
    brighter lies between the two; FFmpeg's own conversion cuts it off.
    """
    if not _is_odd(frame):
        return image
    if frame.color_trc in _HDR:
        name = _HDR[frame.color_trc]
        notes.add(f"it has a high dynamic range ({name}), which is mapped to a screen's")
        light = _pq(image) if name == "PQ" else _hlg(image)
        light = _shoulder(_narrowed(light, frame, ColorPrimaries.BT2020))
    else:
        notes.add("it has a wide gamut, which is mapped to a screen's (BT.709)")
        light = _narrowed(image**_SCREEN, frame, ColorPrimaries.BT709)
    return light.clamp(0, 1) ** (1 / _SCREEN)


def _pq(image: Tensor) -> Tensor:
    """Light relative to paper white (SMPTE ST 2084)."""
    root = image ** (1 / 78.84375)
    ratio = (root - 0.8359375).clamp(min=0) / (18.8515625 - 18.6875 * root)
    return 10000 / _WHITE * ratio ** (1 / 0.1593017578125)


def _hlg(image: Tensor) -> Tensor:
    """Light relative to paper white, on a screen of `_PEAK` nits (BT.2100)."""
    bright = (((image - 0.55991073) / 0.17883277).exp() + 0.28466892) / 12
    scene = torch.where(image <= 0.5, image**2 / 3, bright)
    luma = torch.einsum("c,bchw->bhw", torch.tensor(_LUMA), scene)[:, None]
    return _PEAK / _WHITE * luma**0.2 * scene


def _narrowed(light: Tensor, frame: Any, unsaid: ColorPrimaries) -> Tensor:
    """Linear light in the primaries of BT.709, without what they cannot show."""
    said = frame.color_primaries
    matrix = _WIDE.get(unsaid if said == ColorPrimaries.UNSPECIFIED else said)
    if matrix is None:
        return light
    return torch.einsum("rc,bchw->brhw", torch.tensor(matrix), light).clamp(min=0)


def _shoulder(light: Tensor) -> Tensor:
    """Light up to `_PEAK` pressed into [0, 1] above the knee, in every hue alike (Reinhard)."""
    most = light.amax(1, keepdim=True).clamp(1e-6, _PEAK / _WHITE)
    over = ((most - _KNEE) / (1 - _KNEE)).clamp(min=0)
    top = (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    pressed = _KNEE + (1 - _KNEE) * over * (1 + over / top**2) / (1 + over)
    return light * torch.where(most > _KNEE, pressed, most) / most
