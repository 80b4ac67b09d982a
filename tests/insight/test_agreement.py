"""Where the world says that something is, and whether a map lies there."""

import itertools

import pytest
import torch
from torch import Tensor

from sparks.insight.agreement import (
    TRUTHS,
    agreement,
    asked,
    compare,
    correlations,
    truths,
)
from sparks.pocket import world
from sparks.pocket.words import ACTIONS

SHAPE, COMPRESSION = (7, 4, 4), 4


def seen(action: str) -> tuple[world.Scenes, dict[str, Tensor]]:
    scenes = world.draw(1, 3).acting(action)
    frames = world.render(scenes)[0]
    return scenes, truths(frames, int(scenes.colour), SHAPE, COMPRESSION)


def test_the_object_is_where_the_world_has_painted_it() -> None:
    scenes, truth = seen("slide_right")
    assert {name: each.shape for name, each in truth.items()} == dict.fromkeys(TRUTHS[:3], SHAPE)
    state = world.motion(scenes, world.frame_times())[0]
    for latent, frame in ((0, 0), (6, 23)):
        x, y = state[frame, :2]
        row, column = int(y * 4), int(x * 4)
        assert truth["object"][latent].argmax() == row * 4 + column
        assert truth["path"][latent, row, column] >= truth["object"][latent, row, column]
    # It eases in and out: most is changed in the middle.
    moving = truth["motion"].sum((1, 2))
    assert moving[0] == 0
    assert moving.argmax() not in (0, 1, 6)


def test_what_stands_still_has_no_motion_to_lie_on() -> None:
    _, truth = seen(ACTIONS[0])
    heat = torch.rand(SHAPE)
    assert compare(heat, truth, "motion") is None
    assert compare(heat, truth, "object") is not None
    assert truth["object"].std(0).max() < 1e-3


def test_agreement_with_itself_is_whole_and_with_its_opposite_none() -> None:
    _, truth = seen("jump")
    for name in TRUTHS:
        itself = truth["motion" if name == TRUTHS[-1] else name]
        whole, none = compare(itself, truth, name), compare(-itself, truth, name)
        assert whole is not None
        assert none is not None
        assert (whole["correlation"], whole["overlap"]) == (pytest.approx(1), 1)
        assert none["correlation"] == pytest.approx(-1)
    assert none["overlap"] < whole["chance"]


def test_chance_is_near_what_blind_draws_reach() -> None:
    truth = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])
    found = agreement(torch.arange(8.0), truth)
    assert found is not None
    draws = [len({0, 1} & set(pair)) for pair in itertools.combinations(range(8), 2)]
    blind = sum(both / (4 - both) for both in draws) / len(draws)
    assert found["chance"] == pytest.approx(blind, abs=0.05)
    assert found["overlap"] == 0


def test_many_at_once_are_as_one_by_one() -> None:
    heat, three = torch.rand(SHAPE), [seen(action)[1] for action in ("jump", "stay", "grow")]
    for name in TRUTHS:
        alone = [found for truth in three if (found := compare(heat, truth, name)) is not None]
        parts = [asked(truth, name) for truth in three]
        there, where = (torch.stack([part[i].flatten() for part in parts]) for i in (0, 1))
        together = correlations(heat.flatten(), there, where)
        assert together.tolist() == pytest.approx([found["correlation"] for found in alone])
