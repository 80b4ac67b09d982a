"""Which frames of a video a critic looks at."""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal, get_args

import numpy as np

from sparks.errors import SparksError

Mode = Literal["linspace", "normal", "contiguous", "contiguous_random"]
MODES: tuple[str, ...] = get_args(Mode)


def effective(n: int, num_frames: int) -> int:
    """How many of `n` frames are taken: min(num_frames, n), made even, at least 2.

    Even because Qwen2.5-VL reads frames in pairs.
    """
    return max(2, min(num_frames, n) // 2 * 2)


def select(
    n: int,
    num_frames: int,
    mode: str = "linspace",
    *,
    start: int = 0,
    rng: np.random.Generator | None = None,
) -> list[int]:
    """Indices of the frames to look at, ascending, `effective(n, num_frames)` of them.

    `linspace` is evenly spaced with both ends; `normal` spaces frames by the quantiles of a
    truncated normal, so denser in the middle; `contiguous` is one window from `start` (clamped to
    the clip) and `contiguous_random` one whose first frame `rng` draws from [start, n - K].

    Raises:
        SparksError: no frames, an unknown mode, or `contiguous_random` without `rng`.
    """
    if n < 1 or num_frames < 1:
        raise SparksError(f"cannot take {num_frames} frames of {n}; both must be at least 1")
    k = effective(n, num_frames)
    if mode == "linspace":
        return _linspace(n, k)
    if mode == "normal":
        return _normal(n, k)
    if mode == "contiguous":
        return _window(n, k, start)
    if mode == "contiguous_random":
        if rng is None:
            raise SparksError("sampling 'contiguous_random' needs a seeded generator; pass rng")
        last = max(0, n - k)
        return _window(n, k, int(rng.integers(min(start, last), last + 1)))
    raise SparksError(f"unknown frame sampling {mode!r}; choose one of {', '.join(MODES)}")


def glance(n: int, num_frames: int, mode: str) -> list[int]:
    """What a critic looks at that is not told: `select`, the same frames every time."""
    return select(n, num_frames, mode, rng=np.random.default_rng(0))


def windows(
    n: int,
    num_frames: int,
    mode: str = "linspace",
    count: int = 1,
    rng: np.random.Generator | None = None,
    *,
    start: int = 0,
) -> list[list[int]]:
    """`count` selections of one clip: the first by `mode`, the others random contiguous ones.

    Each is a critic call of its own.
    """
    modes = [mode] + ["contiguous_random"] * (count - 1)
    return [select(n, num_frames, each, start=start, rng=rng) for each in modes]


def _linspace(n: int, k: int) -> list[int]:
    return [round(i * (n - 1) / (k - 1)) for i in range(k)]


def _normal(n: int, k: int) -> list[int]:
    """pos = (Phi^-1(u) / (2 Phi^-1(1 - e)) + 1/2) (n - 1), u = i / (k - 1); both ends forced."""
    if k <= 2 or n <= 2:
        return _linspace(n, k)
    quantile = NormalDist().inv_cdf
    edge = min(0.2, max(1 / (k + 1), 1e-3))
    span = 2 * quantile(1 - edge)
    interior = ((quantile(i / (k - 1)) / span + 0.5) * (n - 1) for i in range(1, k - 1))
    return _strictly_increasing([0, *map(round, interior), n - 1], n)


def _strictly_increasing(indices: list[int], n: int) -> list[int]:
    result: list[int] = []
    for i, index in enumerate(indices):
        lowest = result[-1] + 1 if result else 0
        highest = n - len(indices) + i  # leaves one frame for each index to come
        result.append(min(max(index, lowest), highest))
    return result


def _window(n: int, k: int, start: int) -> list[int]:
    first = min(max(start, 0), max(0, n - k))
    return [min(first + i, n - 1) for i in range(k)]
