"""The measurement: says yes to every action, and no to all that only resembles one."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sparks.pocket import measure, world
from sparks.pocket.training.shown import deceive
from sparks.pocket.words import ACTIONS, COLOURS, MOVING
from sparks.pocket.world import Scenes
from tests.pocket.conftest import SEED

TRAVELS = ("jump", "slide_left", "slide_right")


def deceptive(action: str, kind: str, count: int = 8) -> tuple[Tensor, Scenes]:
    scenes = world.draw(count, SEED).acting(action)
    return deceive(scenes, kind, torch.Generator().manual_seed(0)), scenes


def test_yes_to_the_action_and_no_to_all_others(acting: Scenes) -> None:
    seen = measure.track(world.render(acting), acting.colour)
    strengths = measure.strengths(seen)
    for action in range(len(ACTIONS)):
        asked = torch.full_like(acting.action, action)
        verdict = measure.verdict(seen, asked, strengths)
        right = acting.action == action
        assert torch.equal(verdict.happened, right), ACTIONS[action]
        assert verdict.identity.all()
        assert len(verdict) == len(acting)


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_are_told_apart_on_many_clips(action: str) -> None:
    scenes = world.draw(24, SEED, [action])
    seen = measure.track(world.render(scenes), scenes.colour)
    strengths = measure.strengths(seen)
    for index, name in enumerate(ACTIONS):
        asked = torch.full_like(scenes.action, index)
        verdict = measure.verdict(seen, asked, strengths)
        assert verdict.happened.tolist() == [name == action] * 24, name
        assert verdict.identity.all()


FLAWS = [
    (action, kind)
    for action in ACTIONS[1:]
    for kind in ("weak", "teleport", "frozen")
    if (action, kind) != ("open", "teleport")  # a mouth may open within one frame
]


@pytest.mark.parametrize(("action", "kind"), FLAWS)
def test_not_easily_deceived(action: str, kind: str) -> None:
    scenes = world.draw(16, SEED, [action])
    frames = deceive(scenes, kind, torch.Generator().manual_seed(0), weak=(0.15, 0.2))
    assert not measure.judge(frames, scenes.prompts()).happened.any()


def test_the_one_that_stands_by_does_not_act() -> None:
    scenes = world.draw(64, SEED, ["spin"])
    scenes = scenes[scenes.other_place[:, 2] > 0]
    assert len(scenes) > 12
    other = replace(scenes, colour=scenes.other_colour, shape=scenes.other_shape)
    frames = world.render(scenes)
    assert not measure.judge(frames, other.prompts()).happened.any()
    assert measure.judge(frames, other.acting("stay").prompts()).happened.all()


def test_no_to_a_wrong_colour(acting: Scenes) -> None:
    frames = world.render(acting)
    asked = replace(acting, colour=(acting.colour + 1) % len(COLOURS))
    verdict = measure.judge(frames, asked.prompts())
    assert not verdict.happened.any()
    assert not verdict.identity.any()


def test_no_when_another_object_comes_in() -> None:
    scenes = world.draw(4, SEED).acting("stay")
    intruder = replace(scenes, colour=(scenes.colour + 2) % len(COLOURS), x=scenes.x - 0.3)
    frames = world.render(scenes)
    frames[:, 12:] = torch.where(
        (torch.arange(world.SIZE) < 0.3 * world.SIZE),
        world.render(intruder)[:, 12:],
        frames[:, 12:],
    )
    verdict = measure.judge(frames, scenes.prompts())
    assert not verdict.identity.any()
    assert not verdict.happened.any()


@pytest.mark.parametrize("action", TRAVELS)
def test_no_to_a_dissolve(action: str) -> None:
    """Between two places far enough apart; where they overlap it may pass for one in motion."""
    far = replace(world.draw(8, SEED).acting(action), amplitude=torch.ones(8))
    frames, scenes = deceive(far, "dissolve", torch.Generator()), far
    verdict = measure.judge(frames, scenes.prompts())
    assert not verdict.happened.any()
    assert not verdict.continuous.any()


@pytest.mark.parametrize("action", [action for action in MOVING if action != "open"])
def test_no_to_a_teleport(action: str) -> None:
    frames, scenes = deceptive(action, "teleport")
    verdict = measure.judge(frames, scenes.prompts())
    assert not verdict.happened.any()
    if action in (*TRAVELS, "grow"):
        assert not verdict.continuous.any()


@pytest.mark.parametrize("action", MOVING)
def test_strength_tells_the_weak_from_the_strong(action: str) -> None:
    scenes = world.draw(8, SEED).acting(action)
    states = world.motion(scenes, world.frame_times())
    weakened = world.paint(scenes, states[:, :1] + 0.15 * (states - states[:, :1]))
    weak = measure.judge(weakened, scenes.prompts())
    strong = measure.judge(world.render(scenes), scenes.prompts())
    assert not weak.happened.any()
    assert strong.happened.all()
    assert (strong.strength > weak.strength).all()


@pytest.mark.parametrize("action", MOVING)
def test_no_to_noise(action: str) -> None:
    frames, scenes = deceptive(action, "noise", count=4)
    assert not measure.judge(frames, scenes.prompts()).happened.any()


def test_onset_is_soon_after_the_true_start(acting: Scenes) -> None:
    onset = measure.judge(world.render(acting), acting.prompts()).onset
    if acting.action[0] == ACTIONS.index("stay"):
        assert onset.isnan().all()
    else:
        late = onset - acting.start  # the measurement waits until the change is clear
        assert (late > 0).all()
        assert (late < 0.5).all()


def test_outside_error_ignores_the_object_and_sees_the_rest() -> None:
    idle = world.draw(6, SEED).acting("stay")
    still, moved = world.render(idle), world.render(idle.acting("jump"))
    assert measure.outside_error(still, still, idle.colour).eq(0).all()
    assert (measure.outside_error(moved, still, idle.colour) < 1e-3).all()
    darker = moved - 0.1
    assert measure.outside_error(darker, still, idle.colour) == pytest.approx(0.1, abs=0.01)
