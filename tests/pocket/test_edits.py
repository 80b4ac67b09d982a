"""What critics learn from: edits as searches make them, and how close each came."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from sparks.editors import LTX2Editor
from sparks.pocket import measure, weights_path, world
from sparks.pocket.training import edits
from sparks.pocket.training.critic import NEAR, graded_truth, pleasing, quick_vision, truth
from sparks.pocket.training.shown import deceive, shown
from sparks.pocket.words import ACTIONS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def editor() -> LTX2Editor:
    return LTX2Editor(dtype=torch.float32, device=CPU)


def test_random_edits_differ_keep_the_start_and_repeat(editor: LTX2Editor) -> None:
    made = edits.random_edits(editor, 3, 5)
    again = edits.random_edits(editor, 3, 5)
    assert len(made) == 3
    assert torch.equal(made.frames, again.frames)
    assert (made.scenes.action != ACTIONS.index("stay")).all()
    colour = made.scenes.colour
    seen = measure.track(made.frames.float() / 255, colour)
    still = measure.track(world.render(made.scenes.acting("stay")), colour)
    for field in ("x", "y", "radius"):
        start = (getattr(seen, field)[:, 0] - getattr(still, field)[:, 0]).abs()
        assert (start < 0.03).all(), field


def test_searches_come_to_please_the_critic(
    editor: LTX2Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "CLIMBED", 4)
    with _critic() as please:
        climbed = edits.searched_edits(editor, 2, 6, please)  # one of them does not please at first
        assert len(climbed) == 4
        odds = [_odds(please, climbed[torch.arange(i, i + 2)]) for i in (0, 2)]
    assert odds[1].mean() > odds[0].mean()


def test_evolution_ends_at_the_best_it_saw(
    editor: LTX2Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "WANDERED", 2)
    monkeypatch.setattr(edits, "KEEP_EVERY", 1)
    with _critic() as please:
        wandered = edits.evolved_edits(editor, 2, 2, please)
        *tried, best = _odds(please, wandered).view(4, 2)
    assert (best >= torch.stack(tried).amax(0) - 0.1).all()  # frames are kept as bytes
    assert torch.isclose(best, torch.stack(tried), atol=0.1).any(0).all()


@contextmanager
def _critic() -> Iterator[edits.Pleasing]:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        weights_path() / "critic", dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(weights_path() / "critic")
    with quick_vision(model.model.visual):
        yield pleasing(model.eval().requires_grad_(False), tokenizer, CPU)


def _odds(please: edits.Pleasing, clips: edits.Shown) -> Tensor:
    with torch.no_grad():
        return please(clips.scenes, [0] * len(clips))(clips.frames.float() / 255)


def test_a_no_says_how_close_it_came() -> None:
    scenes = replace(world.draw(4, 7).acting("slide_left"), amplitude=torch.zeros(4))
    asked = (scenes.colour, scenes.shape, scenes.action, torch.zeros(4).long())
    shares = (0.0, 0.3, 0.6, 1.0)
    clips = [replace(scenes, share=torch.full((4,), share)) for share in shares]
    labels = torch.stack([graded_truth(shown(world.render(c), c), asked)[0] for c in clips])
    happened = [truth(shown(world.render(c), c), asked)[0] for c in clips]
    assert (labels.diff(dim=0) > 0).all()
    assert (labels[:3] <= NEAR).all()
    assert torch.equal(labels[3], happened[3])
    assert (labels[3] == 1).all()


def test_a_broken_motion_is_no_nearer_than_none() -> None:
    scenes = world.draw(4, 7).acting("slide_left")
    asked = (scenes.colour, scenes.shape, scenes.action, torch.zeros(4).long())
    leapt = shown(deceive(scenes, "teleport", torch.Generator().manual_seed(0)), scenes)
    assert (measure.verdict(leapt.tracks, scenes.action).strength > 1).all()
    assert (graded_truth(leapt, asked)[0] == 0).all()
