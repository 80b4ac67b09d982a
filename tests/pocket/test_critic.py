"""The trained critic on held-out clips: honest ones, and all that only resembles an action."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sparks.critics.qwen import QwenCritic
from sparks.pocket import weights_path, world
from sparks.pocket.training.critic import (
    Questions,
    draw_questions,
    quick_vision,
    truth,
)
from sparks.pocket.training.shown import DECEPTIONS, deceive, shown
from sparks.pocket.words import ACTIONS, COLOURS, MOVING, SHAPES, VARIANTS, every_prompt
from sparks.pocket.world import Scenes
from tests.pocket.conftest import SEED

TRAVELS = ("jump", "slide_left", "slide_right")


@pytest.fixture(scope="module", params=["critic", "judge"])
def critic(request: pytest.FixtureRequest) -> QwenCritic:
    return QwenCritic(weights_path() / request.param, num_frames=24, fps=float(world.FPS))


@torch.no_grad()
def answers(critic: QwenCritic, frames: Tensor, prompts: list[str]) -> Tensor:
    """Log odds `[B]`, every clip asked its own question."""
    odds = [
        critic.log_odds(clip[None], prompt) for clip, prompt in zip(frames, prompts, strict=True)
    ]
    return torch.cat(odds)


def flawed(kind: str, actions: tuple[str, ...], count: int = 24) -> tuple[Tensor, Scenes]:
    scenes = world.draw(count, SEED, actions)
    return deceive(scenes, kind, torch.Generator().manual_seed(0)), scenes


def test_many_questions_at_once_are_answered_as_one_by_one(critic: QwenCritic) -> None:
    questions = Questions(critic.model, critic.tokenizer, torch.device("cpu"))
    prompts = every_prompt()
    rows = torch.randint(len(prompts), (2, 4), generator=torch.Generator().manual_seed(0))
    shot = (255 * world.render(world.draw(2, SEED))).round().byte()
    frames = shot.float() / 255
    with torch.no_grad():
        at_once = questions.ask(critic.model, questions.see(critic.model, shot), rows)
        for column, asked in enumerate(rows.T):
            alone = answers(critic, frames, [prompts[row] for row in asked])
            torch.testing.assert_close(at_once[:, column], alone, atol=1e-4, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            halved = questions.ask(critic.model, questions.see(critic.model, shot), rows)
        torch.testing.assert_close(halved, at_once, atol=0.3, rtol=0.1)


def test_quick_ways_of_seeing_change_nothing(critic: QwenCritic) -> None:
    visual = critic.model.model.visual
    width = critic.model.config.vision_config.patch_size
    across = world.SIZE // width
    values = 3 * 2 * width**2
    seen = torch.rand(24 * across**2, values, generator=torch.Generator().manual_seed(0))
    grid = torch.tensor([[24, across, across]])
    expected = visual(seen, grid_thw=grid).pooler_output
    with quick_vision(visual):
        found = visual(seen, grid_thw=grid).pooler_output
    again = visual(seen, grid_thw=grid).pooler_output
    assert torch.equal(again, expected)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_swapping_the_question_flips_the_answer(critic: QwenCritic) -> None:
    """Each clip is asked whether it shows its own action, then every other one."""
    count = len(ACTIONS)
    scenes = replace(world.draw(count, SEED), action=torch.arange(count))
    frames = world.render(scenes)
    steps = torch.arange(len(ACTIONS))
    asked = [replace(scenes, action=(scenes.action + step) % len(ACTIONS)) for step in steps]
    odds = torch.stack([answers(critic, frames, scene.prompts()) for scene in asked])
    assert (odds[0] > 0).float().mean() >= 0.9
    assert (odds[1:] < 0).float().mean() >= 0.9


def test_every_wording_is_answered_alike(critic: QwenCritic) -> None:
    scenes = world.draw(1, SEED, ["jump"])
    frames = world.render(scenes)
    for variant in range(VARIANTS):
        assert answers(critic, frames, scenes.prompts([variant])) > 0
        assert answers(critic, frames, scenes.acting("grow").prompts([variant])) < 0


@pytest.mark.parametrize("part", ["colour", "shape"])
def test_no_to_the_wrong_object(critic: QwenCritic, part: str) -> None:
    frames, scenes = flawed("none", MOVING)
    options = len(COLOURS) if part == "colour" else len(SHAPES)
    wrong = replace(scenes, **{part: (getattr(scenes, part) + 1) % options})
    assert (answers(critic, frames, scenes.prompts()) > 0).float().mean() >= 0.9
    assert (answers(critic, frames, wrong.prompts()) < 0).float().mean() >= 0.9


def test_no_to_the_wrong_action(critic: QwenCritic) -> None:
    frames, scenes = flawed("none", MOVING)
    wrong = replace(scenes, action=(scenes.action + 1) % len(ACTIONS))
    assert (answers(critic, frames, wrong.prompts()) < 0).float().mean() >= 0.9


@pytest.mark.parametrize("kind", ["dissolve", "teleport"])
def test_no_to_an_object_that_does_not_travel(critic: QwenCritic, kind: str) -> None:
    frames, scenes = flawed(kind, TRAVELS)
    honest = world.render(scenes)
    assert (answers(critic, honest, scenes.prompts()) > 0).float().mean() >= 0.85
    assert (answers(critic, frames, scenes.prompts()) < 0).float().mean() >= 0.7


@pytest.mark.parametrize("kind", ["weak", "noise", "frozen"])
def test_no_to_too_little_to_noise_and_to_nothing(critic: QwenCritic, kind: str) -> None:
    frames, scenes = flawed(kind, MOVING)
    assert (answers(critic, frames, scenes.prompts()) < 0).float().mean() >= 0.85


def test_balanced_accuracy_on_held_out_clips(critic: QwenCritic) -> None:
    """60 clips, half of them honest, each asked one question as the training draws them."""
    scenes, rng = world.draw(60, SEED), torch.Generator().manual_seed(SEED)
    sizes = (30, 8, 8, 6, 4, 4)
    parts = torch.arange(60).split(sizes)
    frames = torch.cat(
        [deceive(scenes[rows], kind, rng) for rows, kind in zip(parts, DECEPTIONS, strict=True)]
    )
    colour, shape, action, wording = asked = draw_questions(scenes, rng)
    label, _ = truth(shown(frames, scenes), asked)
    rows = ((colour * len(SHAPES) + shape) * len(ACTIONS) + action) * VARIANTS + wording
    prompts = every_prompt()
    yes = answers(critic, frames, [prompts[row] for row in rows]) > 0
    found = (yes[label == 1]).float().mean()
    refused = (~yes[label == 0]).float().mean()
    assert (label == 1).sum() >= 10
    assert (found + refused) / 2 >= 0.95


def test_the_gradient_reaches_the_frames(critic: QwenCritic) -> None:
    frames = world.render(world.draw(1, SEED, ["jump"])).requires_grad_()
    critic.log_odds(frames, "a red ball jumps").sum().backward()
    assert frames.grad is not None
    assert frames.grad.abs().sum() > 0
