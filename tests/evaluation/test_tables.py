import csv
import io

import numpy as np
import pytest

from sparks.evaluation.statistics.tables import csv_text, difference, estimate, markdown, wilson


def rows(values: dict[str, list[float | None]]) -> list[dict[str, object]]:
    return [{"task": task, "x": value} for task, seeds in values.items() for value in seeds]


def test_the_mean_weighs_tasks_alike() -> None:
    found = estimate(rows({"a": [0, 0, 0], "b": [1]}), "x")
    assert found is not None
    assert (found.mean, found.count) == (0.5, 4)


def test_intervals_cover_the_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        tasks = {
            str(i): list(rng.normal(mean, 0.5, 3)) for i, mean in enumerate(rng.normal(size=20))
        }
        found = estimate(rows(tasks), "x")
        assert found is not None
        covered += found.low <= 0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_seeds_that_agree_say_nothing_new() -> None:
    once = estimate(rows({str(i): [i % 2] for i in range(12)}), "x")
    thrice = estimate(rows({str(i): [i % 2] * 3 for i in range(12)}), "x")
    assert once is not None
    assert thrice is not None
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.1)


def test_the_same_rows_give_the_same_interval() -> None:
    given = rows({"a": [0.1, 0.7], "b": [0.3]})
    assert estimate(given, "x") == estimate(given, "x")


def test_what_is_missing_is_left_out() -> None:
    found = estimate(rows({"a": [None, 1], "b": [None]}), "x")
    assert found is not None
    assert (found.mean, found.low, found.high, found.count) == (1, 1, 1, 1)
    assert estimate(rows({"a": [None]}), "x") is None
    assert estimate([{"task": "a"}], "x") is None


def test_text() -> None:
    assert markdown(["a", "b"], [["1|2", "3"]]) == "| a | b |\n| --- | --- |\n| 1/2 | 3 |\n"
    text = csv_text([{"a": 1, "b": "x, y"}, {"a": 2, "c": None}])
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"a": "1", "b": "x, y", "c": ""},
        {"a": "2", "b": "", "c": ""},
    ]


def test_no_cell_is_a_formula() -> None:
    text = csv_text([{"a": '=HYPERLINK("http://x")', "b": "+1", "c": "-1", "d": "@x", "e": -1.5}])
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {"a": '\'=HYPERLINK("http://x")', "b": "'+1", "c": "'-1", "d": "'@x", "e": "-1.5"}


def test_differences_are_of_the_same_task_and_seed() -> None:
    def of(values: dict[tuple[str, int], float | None]) -> list[dict[str, object]]:
        return [{"task": t, "seed": s, "x": value} for (t, s), value in values.items()]

    more = of({("a", 1): 1, ("a", 2): 1, ("b", 1): 0, ("c", 1): 1})
    less = of({("a", 1): 0, ("a", 2): 1, ("b", 1): 0, ("c", 1): None, ("d", 1): 1})
    between = difference(more, less, "x")
    assert between is not None
    assert (between.mean, between.count) == (0.25, 3)
    assert between.low <= 0 < between.high
    assert difference(more, of({("e", 1): 1}), "x") is None


def test_wilsons_interval() -> None:
    low, high = wilson(30, 42)  # by hand: 0.5643 to 0.8284
    assert (low, high) == (pytest.approx(0.5643, abs=1e-3), pytest.approx(0.8284, abs=1e-3))
    assert wilson(0, 10)[0] == 0
    assert wilson(0, 10)[1] == pytest.approx(0.2775, abs=1e-3)
    assert wilson(0, 0) == (0, 1)
