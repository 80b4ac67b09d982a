"""Whether an object looks like itself."""

from dataclasses import replace

import torch
from torch import Tensor

from sparks.pocket import measure, world
from sparks.pocket.likeness import Likeness, likeness
from sparks.pocket.words import SHAPES

CROSS, BALL = SHAPES.index("cross"), SHAPES.index("ball")


def of(frames: Tensor, scenes: world.Scenes) -> Likeness:
    return likeness(frames, scenes, measure.track(frames, scenes.colour))


def test_the_worlds_own_clips_look_like_themselves() -> None:
    for action in ("wave", "open", "blink"):
        scenes = replace(world.draw(5, 99).acting(action), shape=torch.arange(5))
        seen = of(world.render(scenes), scenes)
        assert seen.kept.all(), action
        assert (seen.sharpness > 0.9).all(), action


def test_a_cross_that_turns_into_a_ball_is_not_kept_though_it_waves() -> None:
    scenes = replace(world.draw(2, 99).acting("wave"), shape=torch.tensor([CROSS, CROSS]))
    other = replace(scenes, shape=torch.tensor([CROSS, BALL]), radius=scenes.radius * 0.93)
    frames = world.render(scenes)
    frames[:, 8:18] = world.render(other)[:, 8:18]
    assert measure.judge(frames, scenes.prompts()).happened.all()
    assert of(frames, scenes).kept.tolist() == [True, False]


def test_blur_lowers_sharpness() -> None:
    scenes = world.draw(2, 99).acting("jump")
    frames = world.render(scenes)
    blurred = torch.nn.functional.avg_pool2d(frames.flatten(0, 1), 7, 1, 3).view_as(frames)
    assert (of(blurred, scenes).sharpness < of(frames, scenes).sharpness - 0.1).all()


def test_an_object_beside_that_goes_away_is_missed() -> None:
    scenes = world.draw(40, 99).acting("stay")
    scenes = scenes[scenes.other_place[:, 2] > 0][:2]
    alone = replace(scenes, other_place=torch.zeros_like(scenes.other_place))
    frames = world.render(scenes)
    assert of(frames, scenes).kept.all()
    frames[1, 12:] = world.render(alone)[1, 12:]
    assert of(frames, scenes).kept.tolist() == [True, False]
