"""From a probe to a probability, and to words."""

import math
from dataclasses import replace

import pytest

from sparks.runs.screening.features import features
from sparks.runs.screening.predictor import (
    Predictor,
    Record,
    Term,
    load_predictor,
    read_predictor,
)
from sparks.runs.screening.probe import Effort, Look, Probe
from sparks.runs.screening.verdict import describe, headline, weigh

LOOKS = (
    *(Look("start", 0.2, 0.01, 2.0), Look("noise", 0.8, 0.02, 1.5), Look("step", 0.5, 0.01, 1.0)),
    *(Look("draw", 0.9, 0.04, 3.0), Look("draw", 0.1, 0.01, 1.0)),
)
PROBE = Probe(
    "a red ball jumps",
    "a red ball stays still",
    (0.001, 1.0),
    2.0,
    LOOKS,
    {"renders": 5, "qwen_calls": 5, "wall_clock": 2.0},
)
PREDICTOR = Predictor(
    "by hand",
    "qwen_calls=30",
    Effort(2, 1, 2),
    0.5,
    {"action": Term(0.0, 1.0, 1.0), "draw_best": Term(1.0, 2.0, 3.0)},
    {"jump": Record(3, 4), "wave": Record(1, 4)},
)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_features_are_what_their_names_say() -> None:
    values = features(PROBE)
    assert values["start"] == pytest.approx(logit(0.2))
    assert values["prompt_mean"] == pytest.approx((logit(0.2) + logit(0.8)) / 2)
    assert values["prompt_spread"] == pytest.approx(logit(0.8))
    assert values["step"] == pytest.approx(-logit(0.2))
    assert values["draw_best"] == pytest.approx(logit(0.9))
    assert values["draws_accepted"] == 0.5
    assert values["slope"] == pytest.approx(math.log(3))
    assert values["best_leap"] == pytest.approx(math.log(3))


def test_answers_that_are_certain_or_no_number_stay_numbers() -> None:
    for p_yes in (0.0, 1.0, math.nan):
        looks = tuple(replace(look, p_yes=p_yes) for look in LOOKS)
        assert all(map(math.isfinite, features(replace(PROBE, looks=looks)).values()))
    bare = replace(PROBE, looks=LOOKS[:1], slope=None)
    assert all(map(math.isfinite, features(bare).values()))


def test_a_probability_is_the_regression_of_its_terms() -> None:
    rate = (3 + 4 * 0.5) / (4 + 4)  # drawn to that of all actions
    assert PREDICTOR.pooled == 0.5
    total = 0.5 + logit(rate) + 3 * (logit(0.9) - 1) / 2
    assert PREDICTOR.probability(PROBE) == pytest.approx(1 / (1 + math.exp(-total)))
    unknown = replace(PROBE, prompt="a cat yawns")
    assert PREDICTOR.record(unknown.prompt) is None
    assert PREDICTOR.probability(unknown) < PREDICTOR.probability(PROBE)
    assert read_predictor(PREDICTOR.json()) == PREDICTOR


def test_the_one_in_the_package_knows_every_action() -> None:
    from sparks.pocket.words import MOVING

    predictor = load_predictor()
    assert set(predictor.records) == set(MOVING)
    assert 0 < predictor.probability(PROBE) < 1
    assert set(predictor.terms) <= {"action", *features(PROBE)}
    assert read_predictor(predictor.json()) == predictor


def test_a_verdict_says_why_and_what_it_cost() -> None:
    text = describe(weigh(PREDICTOR, PROBE, {"model": ("pocket", "pocket")}))
    assert "P(yes) 0.20, 0.80 under 2 noises: 1 accepted, so the noise matters" in text
    assert "P(yes) rises from 0.20 to 0.50" in text
    assert "1 of 2 accepted: P(yes) 0.90, 0.10" in text
    assert "jump: 3 of 4 such edits happened" in text
    assert "5 renders, 5 critic calls, 2.0 s" in text
    assert "a guess" not in text
    other = weigh(PREDICTOR, PROBE, {"model": ("mine", "pocket")})
    assert "a guess only  learnt on others: model mine instead of pocket" in describe(other)
    assert other.json()["foreign"] == ["model mine instead of pocket"]


@pytest.mark.parametrize(
    ("intercept", "words"),
    [(9.0, "Worth a search"), (-2.0, "Uncertain"), (-9.0, "Hardly worth a search")],
)
def test_a_verdict_follows_its_probability(intercept: float, words: str) -> None:
    assert words in headline(weigh(replace(PREDICTOR, intercept=intercept), PROBE, {}))


def test_a_prompt_that_does_alone_is_told_first() -> None:
    looks = tuple(replace(look, p_yes=0.9) for look in LOOKS)
    verdict = weigh(PREDICTOR, replace(PROBE, looks=looks), {})
    assert verdict.already
    assert headline(verdict).startswith("The prompt alone may do")
