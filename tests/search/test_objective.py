"""Each term of the loss, against numbers worked out by hand."""

import math

import pytest
import torch

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.search.objective import Losses, Objective, Weights
from tests.toy import distance

START = Controls(alpha=torch.ones(1, 2, 5, 3), delta_v=torch.zeros(1, 4, 6))
MOVED = Controls(alpha=torch.full((2, 2, 5, 3), 3.0), delta_v=torch.full((2, 4, 6), 0.5))


def only(**weights: float) -> Weights:
    return Weights(
        **{"vlm": 0, "latent_alpha": 0, "latent_v": 0, "lpips": 0, "temporal": 0} | weights
    )


def test_the_critics_term_is_the_weighted_surprise_and_finite() -> None:
    term = Objective(only(vlm=2), START).vlm(torch.tensor([0.0, 50.0, -50.0]))
    assert term.tolist() == pytest.approx([2 * math.log(2), 0, -2 * math.log(1e-8)], abs=1e-5)


def test_the_latent_terms_are_means_or_sums_of_squares() -> None:
    weights = only(latent_alpha=0.5, latent_v=2)
    mean = Objective(weights, START).latent(MOVED)
    assert {name: value.tolist() for name, value in mean.items()} == {
        "latent_alpha": [2.0, 2.0],
        "latent_v": [0.5, 0.5],
    }
    sums = Objective(weights, START, reduction="sum").latent(MOVED)
    assert sums["latent_alpha"].tolist() == [2.0 * 30] * 2
    assert sums["latent_v"].tolist() == [0.5 * 24] * 2


@pytest.mark.parametrize(
    ("schedule", "scales"),
    [("constant", (1, 1, 1)), ("linear", (0.1, 1.55, 3.0)), ("cosine_increase", (0.1, 1.55, 3.0))],
)
def test_the_latent_weights_grow_with_the_budget_spent(
    schedule: str, scales: tuple[float, ...]
) -> None:
    objective = Objective(only(latent_v=4), START, latent_schedule=schedule)  # type: ignore[arg-type]
    grown = [float(objective.latent(MOVED, spent)["latent_v"][0]) for spent in (0, 0.5, 1)]
    assert grown == pytest.approx(scales)


def test_the_frames_are_held_to_the_prompt_only_render() -> None:
    reference = torch.full((9, 3, 4, 4), 0.25)
    frames = torch.stack([reference, reference + 0.5])
    terms = dict(Objective(only(lpips=3), START, distance=distance).preserve(frames, reference))
    assert terms["lpips"].tolist() == [0.0, 0.75]


def test_only_flicker_beyond_the_prompt_only_renders_costs() -> None:
    flicker = torch.tensor([0.0, 0.5]).repeat(5)[:9].view(9, 1, 1, 1).expand(9, 3, 4, 4)
    steady = torch.zeros(9, 3, 4, 4)
    objective = Objective(only(temporal=2), START, distance=distance)
    (worse,) = dict(objective.preserve(flicker[None], steady)).values()
    (better,) = dict(objective.preserve(steady[None], flicker)).values()
    assert (worse.tolist(), better.tolist()) == ([0.5], [0.0])


def test_a_term_of_no_weight_is_left_out_and_needs_nothing() -> None:
    objective = Objective(only(vlm=1), START)
    assert not objective.needs_reference
    assert objective.latent(MOVED) == {}
    assert list(objective.preserve(torch.zeros(1, 2, 3, 4, 4), torch.zeros(2, 3, 4, 4))) == []
    for name in ("lpips", "temporal"):
        assert Objective(only(**{name: 0.1}), START).needs_reference


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(SparksError, match="weight lpips is"):
        Weights(lpips=weight)


def test_terms_add_up() -> None:
    assert Losses({"vlm": 0.5, "lpips": 0.25}).total == 0.75
