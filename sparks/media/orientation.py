"""Which way up a picture is shown: phones store it as the sensor lies, with a matrix beside it."""

import struct
from typing import Any

import torch
from torch import Tensor


def upright(image: Tensor, frame: Any) -> Tensor:
    """`[1, 3, H, W]` turned and mirrored as the frame's display matrix says, by right angles.

    The matrix sends a stored point (x, y) to (a x + c y, b x + d y).
    """
    a, b, c, d = _matrix(frame)
    if abs(a) + abs(d) < abs(b) + abs(c):  # columns become rows
        image, a, d = image.transpose(2, 3), c, b
    flipped = [axis for axis, scale in ((3, a), (2, d)) if scale < 0]
    return torch.flip(image, flipped) if flipped else image


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    try:
        stored = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV 18 stumbles over side data that is younger than itself
        stored = None
    if stored is None:
        return _TURNS[round((frame.rotation or 0) / 90) % 4]
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(stored))
    return a, b, c, d


_TURNS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))  # anticlockwise
