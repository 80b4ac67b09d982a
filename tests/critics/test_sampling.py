import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from sparks.critics.sampling import MODES, effective, select, windows
from sparks.errors import SparksError

GOLDEN = Path(__file__).parents[1] / "golden" / "sampling.json"
CASES = json.loads(GOLDEN.read_text())["cases"]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("mode", ["linspace", "normal"])
def test_golden(mode: str) -> None:
    for case in CASES:
        assert select(case["n"], case["requested"], mode) == case[mode], case


def test_golden_counts() -> None:
    for case in CASES:
        assert effective(case["n"], case["requested"]) == case["effective"], case


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n", "k"), [(1, 8), (2, 8), (3, 3), (25, 8), (89, 16), (2500, 2000)])
def test_indices_lie_in_the_clip(mode: str, n: int, k: int) -> None:
    indices = select(n, k, mode, rng=rng())
    assert len(indices) == effective(n, k)
    assert all(0 <= index < n for index in indices)
    if n > 1:
        assert all(a < b for a, b in itertools.pairwise(indices))


def test_contiguous_window_is_clamped_to_the_clip() -> None:
    assert select(25, 4, "contiguous", start=4) == [4, 5, 6, 7]
    assert select(25, 4, "contiguous", start=24) == [21, 22, 23, 24]


def test_random_windows_cover_all_starts_and_no_more() -> None:
    generator = rng()
    starts = {select(12, 8, "contiguous_random", start=2, rng=generator)[0] for _ in range(60)}
    assert starts == {2, 3, 4}


def test_windows_repeat_with_the_seed() -> None:
    first = windows(89, 8, "normal", 3, rng())
    assert first == windows(89, 8, "normal", 3, rng())
    assert first[0] == select(89, 8, "normal")
    assert all(b - a == 1 for window in first[1:] for a, b in itertools.pairwise(window))


def test_one_window_needs_no_generator() -> None:
    assert windows(25, 8) == [select(25, 8)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((25, 8, "uniform"), "uniform.*linspace"),
        ((25, 8, "contiguous_random"), "generator"),
        ((0, 8), "0"),
        ((25, 0), "0"),
    ],
)
def test_bad_requests(arguments: tuple, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        select(*arguments)
