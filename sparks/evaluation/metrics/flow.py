"""Dense optical flow of a clip, without any weights: OpenCV's DIS.

Flow is `[T-1, H, W, 2]` in pixels (x, y) from each frame to the next. It is worked out at one size,
SIDE, as DIS misses a part of what moves in smaller pictures. Speeds are in shorter sides of the
picture per second, so that neither size nor rate matters.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from sparks.media.clip import Clip
from sparks.search.metrics import Edited, Unavailable

Array = NDArray[np.float32]
T = TypeVar("T")

SIDE = 288  # pixels of the shorter side that flow is worked out at
_EPS = 1e-6


def cv2() -> Any:
    """OpenCV.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        import cv2 as opencv
    except ImportError as error:
        raise Unavailable(
            "optical flow needs OpenCV; pip install 'sound-sparks[evaluation]', or "
            "pip install opencv-python-headless"
        ) from error
    return opencv


def shared(edited: Edited, name: str, make: Callable[[], T]) -> T:
    """What `make` gives, made once for all metrics of a pair."""
    if name not in edited.shared:
        edited.shared[name] = make()
    return edited.shared[name]  # type: ignore[no-any-return]


class Motion:
    """How a clip moves.

    Attributes:
        pictures: `[T, H, W, 3]` in [0, 1], as flow sees them.
        flow: `[T-1, H, W, 2]` to the next frame.
        back: `[T-1, H, W, 2]` from the next frame to this one.
        translation: `[T-1, 2]`, the median flow: what the camera does.
        unit: sides per second that one pixel per frame is.
    """

    def __init__(self, clip: Clip) -> None:
        self.pictures = pictures(clip)
        grey = _grey(self.pictures)
        self.flow = _flow(grey)
        self.back = _flow(grey[::-1])[::-1]
        self.translation = np.median(self.flow, axis=(1, 2))
        self.unit = float(clip.fps) / min(self.pictures.shape[1:3])
        self.fps = float(clip.fps)

    @property
    def speed(self) -> Array:
        """`[T-1, H, W]`, sides per second, of what moves otherwise than the camera."""
        own = self.flow - self.translation[:, None, None]
        return np.asarray(np.hypot(own[..., 0], own[..., 1]) * self.unit, dtype=np.float32)

    @property
    def drift(self) -> Array:
        """`[T-1]`, sides per second, of the camera."""
        return np.asarray(np.hypot(*self.translation.T) * self.unit, dtype=np.float32)

    def warped(self) -> Array:
        """`[T-1, H, W, 3]`: each frame's successor, brought back along the flow."""
        pairs = zip(self.pictures[1:], self.flow, strict=True)
        return np.stack([_look_along(picture, flow) for picture, flow in pairs])

    def visible(self) -> NDArray[np.bool_]:
        """`[T-1, H, W]`: what can be seen in both frames, by going there and back.

        Sundaram et al. 2010: |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5.
        """
        pairs = zip(self.back, self.flow, strict=True)
        back = np.stack([_look_along(b, f) for b, f in pairs])
        apart = np.square(self.flow + back).sum(-1)
        size = np.square(self.flow).sum(-1) + np.square(back).sum(-1)
        return np.asarray((apart < 0.01 * size + 0.5) & _inside(self.flow))

    def energy(self) -> Array:
        """`[T-1]`: mean change from frame to frame, the camera's translation taken out."""
        pairs = zip(self.pictures[:-1], self.pictures[1:], self.translation, strict=True)
        return np.array([_change(first, second, by) for first, second, by in pairs], np.float32)


def motion_of(edited: Edited, which: str) -> Motion:
    """That of the `source` or the `edit`, worked out once."""
    return shared(edited, f"motion of {which}", lambda: Motion(getattr(edited, which)))


def pictures(clip: Clip) -> Array:
    """`[T, H, W, 3]` in [0, 1], the shorter side no more than SIDE."""
    frames = clip.frames
    scale = SIDE / min(frames.shape[-2:])
    if scale < 1:
        size = [round(scale * side) for side in frames.shape[-2:]]
        frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
    return np.ascontiguousarray(frames.permute(0, 2, 3, 1).cpu().numpy(), dtype=np.float32)


def _grey(pictures: Array) -> NDArray[np.uint8]:
    """`[T, H, W]` along the colour axis on which the clip varies most.

    Luma would not see a coloured thing on a ground as bright as it is.
    """
    pixels = pictures.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // 100_000)]
    axis = np.linalg.eigh(np.cov(pixels.T) + _EPS * np.eye(3))[1][:, -1]
    axis = axis * np.sign(axis.sum() + _EPS)
    along = pictures @ axis.astype(np.float32)
    low, high = along.min(), along.max()
    return np.asarray(255 * (along - low) / max(float(high - low), 0.1), dtype=np.uint8)


def _flow(grey: NDArray[np.uint8]) -> Array:
    opencv = cv2()
    method = opencv.DISOpticalFlow_create(opencv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = grey.shape[1:]
    scale = SIDE / min(height, width)
    size = round(width * scale), round(height * scale)
    images = [opencv.resize(image, size, interpolation=opencv.INTER_LINEAR) for image in grey]
    flows = (method.calc(a, b, None) for a, b in itertools.pairwise(images))
    own = [opencv.resize(f, (width, height), interpolation=opencv.INTER_AREA) for f in flows]
    return np.asarray(np.stack(own) / scale, dtype=np.float32)


def _grid(flow: Array) -> tuple[Array, Array]:
    rows, columns = np.mgrid[: flow.shape[-3], : flow.shape[-2]].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _look_along(picture: Array, flow: Array) -> Array:
    opencv = cv2()
    x, y = _grid(flow)
    seen = opencv.remap(picture, x, y, opencv.INTER_LINEAR, borderMode=opencv.BORDER_REPLICATE)
    return np.asarray(seen, dtype=np.float32)


def _inside(flow: Array) -> NDArray[np.bool_]:
    x, y = _grid(flow)
    height, width = flow.shape[-3:-1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _change(first: Array, second: Array, by: Array) -> float:
    moved = _look_along(second, np.broadcast_to(by, (*second.shape[:2], 2)).astype(np.float32))
    return float(np.abs(moved - first).mean())
