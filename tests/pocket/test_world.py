"""The world: the same for a seed, and with sound that follows the motion."""

import hashlib
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparks.editors.mel import log_mel
from sparks.media.clip import Clip, read_clip, write_clip
from sparks.pocket import measure, world
from sparks.pocket.training.acceptance import every_action, heard_pitch
from sparks.pocket.words import ACTIONS, understand
from sparks.pocket.world import Scenes
from tests.pocket.conftest import SEED


def scene(action: str, **values: float) -> Scenes:
    """One ball in a silent room that acts from 0.5 s to 1.5 s, unless told otherwise."""
    base = world.draw(1, SEED).acting(action)
    plain = {"shape": 0, "x": 0.5, "start": 0.5, "length": 1.0, "amplitude": 1.0, "hiss": 0.0}
    given = {name: torch.tensor([value]) for name, value in {**plain, **values}.items()}
    return replace(base, **given)


def windows(waveform: Tensor, length: int = 800) -> Tensor:
    """`[C, windows, length]`: pieces of 50 ms."""
    return waveform.unfold(-1, length, length)


def loudness(waveform: Tensor) -> Tensor:
    return windows(waveform).square().mean((0, 2)).sqrt()


def pitch(waveform: Tensor) -> Tensor:
    """Hz of each piece, from the zero crossings of the sum of both channels."""
    signs = windows(waveform.sum(0)).sign()
    return (signs.diff(dim=-1) != 0).sum(-1) / 2 / (800 / world.SAMPLE_RATE)


def test_a_seed_gives_the_same_scenes() -> None:
    first, again, other = world.draw(8, 1), world.draw(8, 1), world.draw(8, 2)
    assert all(torch.equal(getattr(first, f.name), getattr(again, f.name)) for f in fields(first))
    assert not torch.equal(first.x, other.x)
    assert torch.equal(world.render(first), world.render(again))
    assert torch.equal(world.sound(first, 3), world.sound(again, 3))


def test_the_scenes_are_those_the_weights_were_trained_on() -> None:
    scenes = world.draw(8, 1)
    names = [f.name for f in fields(scenes)]
    drawn = [(1e4 * getattr(scenes, name)).round().int().tolist() for name in names]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest()[:16] == "47489939fd15e911"


@pytest.mark.parametrize("action", ACTIONS[1:])
def test_a_feeble_action_is_the_whole_one_in_part(action: str) -> None:
    scenes = world.draw(4, SEED, [action])
    feeble = replace(scenes, share=torch.full((4,), 0.25))
    times = world.frame_times()
    rest, whole, part = (world.motion(s, times) for s in (scenes.acting("stay"), scenes, feeble))
    torch.testing.assert_close(part - rest, 0.25 * (whole - rest))
    idle, loud, soft = (world.sound(s) for s in (scenes.acting("stay"), scenes, feeble))
    assert ((soft - idle).square().mean() < (loud - idle).square().mean()).all()


def test_shapes_and_ranges() -> None:
    scenes = world.draw(5, SEED)
    frames, sound = world.render(scenes), world.sound(scenes)
    assert frames.shape == (5, 25, 3, 96, 96)
    assert 0 <= frames.min() < frames.max() <= 1
    assert sound.shape == (5, 2, world.NUM_SAMPLES)
    assert sound.abs().max() <= 1
    assert world.motion(scenes, world.frame_times()).shape == (5, 25, len(world.STATE))


def test_scenes_can_be_sliced_and_told_to_act() -> None:
    scenes = world.draw(6, SEED)
    assert len(scenes[torch.tensor([0, 3])]) == 2
    idle = scenes.acting("stay")
    assert torch.equal(idle.sky, scenes.sky)
    assert set(idle.action.tolist()) == {ACTIONS.index("stay")}
    assert set(world.draw(40, SEED, ["spin", "grow"]).action.tolist()) == {4, 5}


def test_prompts_say_what_the_scene_shows() -> None:
    scenes = world.draw(12, SEED)
    for row, prompt in enumerate(scenes.prompts(list(range(12)))):
        said = understand(prompt)
        assert said.action == ACTIONS[int(scenes.action[row])]
    assert all(understand(prompt).action is None for prompt in scenes.prompts(actions=False))


def test_every_clip_has_variety() -> None:
    scenes = world.draw(300, SEED)
    for name in ("x", "y", "radius", "start", "length", "amplitude", "horizon", "hiss"):
        assert len(getattr(scenes, name).unique()) > 250, name
    assert (scenes.start + scenes.length < world.DURATION).all()


def test_there_is_company_and_drift() -> None:
    scenes = world.draw(300, SEED)
    assert len(scenes.shape.unique()) == len(scenes.other_shape.unique()) == 5
    assert len(scenes.colour.unique()) == len(scenes.other_colour.unique()) == 6
    assert len(scenes.action.unique()) == 11
    assert (scenes.colour != scenes.other_colour).all()
    assert 80 < (scenes.other_place[:, 2] > 0).sum() < 160
    assert 80 < (scenes.drift != 0).sum() < 160
    drifting = scenes[scenes.drift != 0][:4].acting("stay")
    sky = world.render(drifting)[..., :8, :]
    assert (sky[:, 12] - sky[:, 0]).abs().amax((1, 2, 3)).min() > 0.02


@pytest.mark.parametrize("action", ACTIONS[1:])
def test_every_action_is_heard(action: str) -> None:
    scenes = world.draw(6, SEED, [action])
    acting, idle = world.sound(scenes), world.sound(scenes.acting("stay"))
    assert ((acting - idle).square().mean((1, 2)) > idle.square().mean((1, 2))).all()


def test_measured_curves_are_the_true_ones(acting: Scenes) -> None:
    true = world.motion(acting, world.frame_times())
    seen = measure.track(world.render(acting), acting.colour)
    x, y, scale, angle, visibility, aperture, _ = true.unbind(-1)
    visible = (visibility > 0.6) & (aperture < 0.1)  # a wide mouth shifts the centre

    def error(measured: Tensor, curve: Tensor) -> float:
        return float(((measured - curve).abs() * visible).max())

    assert error(seen.x - seen.x[:, :1], x - x[:, :1]) < 0.015
    assert error(seen.y - seen.y[:, :1], y - y[:, :1]) < 0.04
    blinking = acting.action[0] == ACTIONS.index("blink")
    assert error(seen.radius / seen.radius[:, :1], scale) < (0.25 if blinking else 0.1)
    if blinking:
        assert (seen.mass / seen.mass[:, :1] - visibility).abs().max() < 0.3
    else:
        assert error(seen.angle - seen.angle[:, :1], angle - angle[:, :1]) < 0.12


def test_an_idle_ball_is_quieter_than_any_moving_one() -> None:
    idle = loudness(world.sound(scene("stay"))[0]).max()
    for action in ACTIONS[1:]:
        assert loudness(world.sound(scene(action))[0]).max() > 2 * idle or action == "blink"


def test_pitch_rises_with_height() -> None:
    jumping = scene("jump")
    heard = pitch(world.sound(jumping)[0])
    centres = (torch.arange(len(heard)) + 0.5) * 0.05
    height = jumping.y - world.motion(jumping, centres)[0, :, 1]
    expected = 300 * 2 ** (3.5 * height)
    assert height.max() > 0.3
    assert heard[height.argmax()] > 2 * heard[0]
    assert (heard - expected).abs().max() < 0.12 * expected.max()


def test_the_measured_pitch_is_the_true_one() -> None:
    scenes = every_action(14)
    heard = heard_pitch(log_mel(world.sound(scenes, 1)), scenes.shape)[:, :196]
    times = torch.arange(392) / world.CONTROL_RATE  # a mel frame takes two of them
    _, true, loudness = (
        curve[:, ::2] for curve in world.voice(scenes, world.motion(scenes, times))
    )
    error = (heard - 12 * (true / 80).log2()).abs()
    assert error[loudness > 0.03].max() < 1.5


def test_pitch_falls_with_size() -> None:
    heard = pitch(world.sound(scene("grow"))[0])
    assert heard[-2] < 0.6 * heard[1]


def test_loudness_follows_motion() -> None:
    level = loudness(world.sound(scene("slide_left"))[0])
    before, during, after = level[1:9].mean(), level[15:25].mean(), level[32:].mean()
    assert during > 2 * before
    assert during > 2 * after


def test_a_blink_gates_the_sound() -> None:
    blinking = scene("blink", turns=1)
    level = loudness(world.sound(blinking)[0])
    centres = (torch.arange(len(level)) + 0.5) * 0.05
    visibility = world.motion(blinking, centres)[0, :, 4]
    assert visibility.min() < 0.01
    assert level[visibility.argmin()] < 0.05 * level[:9].mean()


@pytest.mark.parametrize(("action", "louder"), [("slide_left", 0), ("slide_right", 1)])
def test_balance_follows_x(action: str, louder: int) -> None:
    waveform = world.sound(scene(action))[0]
    start, end = windows(waveform).square().mean(-1).sqrt()[:, [2, -2]].T
    assert math.isclose(start[0], start[1], rel_tol=0.02)
    assert end[louder] > 1.8 * end[1 - louder]


def test_an_mp4_keeps_the_verdict(acting: Scenes, tmp_path: Path) -> None:
    one = acting[:1]
    sound = world.sound(one)[0]
    clip = Clip(world.render(one)[0], world.FPS, sound, world.SAMPLE_RATE)
    write_clip(tmp_path / "clip.mp4", clip, comment=one.prompts()[0])
    back = read_clip(tmp_path / "clip.mp4")
    assert (back.frames.shape, back.fps) == (clip.frames.shape, clip.fps)
    assert back.waveform is not None
    assert back.waveform.shape == (2, world.NUM_SAMPLES)
    assert (loudness(back.waveform) - loudness(sound)).abs().max() < 0.03
    assert measure.judge(back.frames[None], one.prompts()).happened.all()
    action = understand(one.prompts()[0]).action
    others = [one.acting(name).prompts()[0] for name in ACTIONS if name != action]
    copies = back.frames.expand(len(others), -1, -1, -1, -1)
    assert not measure.judge(copies, others).happened.any()
