"""What critics are shown while they learn."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from sparks.pocket import measure, weights_path, world
from sparks.pocket.training.loop import Course
from sparks.pocket.training.shown import DRAWN, Reel, Shown, camera, shown, varied
from sparks.pocket.words import ACTIONS


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLLTX2Video:
    return AutoencoderKLLTX2Video.from_pretrained(weights_path() / "vae").eval()


def reel(vae: AutoencoderKLLTX2Video, pool: Shown | None = None) -> Reel:
    return Reel(vae, Course(Path(), 2 * DRAWN, batch=4, seed=1), pool)


def test_a_step_shows_the_same_whatever_came_before(vae: AutoencoderKLLTX2Video) -> None:
    first = reel(vae)
    drawn = [first.draw(step) for step in (0, 1, 500)]
    known = reel(vae).draw(1)
    assert torch.equal(known.frames, drawn[1].frames)
    assert torch.equal(known.tracks.x, drawn[1].tracks.x)
    assert not torch.equal(known.frames, drawn[0].frames)
    assert not torch.equal(known.frames, drawn[2].frames)


def test_a_camera_adds_a_little_to_every_pixel() -> None:
    scenes = world.draw(6, 3)
    clean = shown(world.render(scenes), scenes)
    taken = camera(clean, torch.Generator().manual_seed(0))
    change = (taken.frames.float() - clean.frames.float()).abs().mean((1, 2, 3, 4)) / 255
    assert taken.frames.dtype == torch.uint8
    assert (change > 0).all()
    assert (change < 0.06).all()
    assert taken.tracks is clean.tracks


def test_varied_clips_are_what_is_known_of_them() -> None:
    scenes = world.draw(3 * len(ACTIONS), 3)
    actions = torch.arange(len(scenes)) % len(ACTIONS)
    clean = shown(world.render(replace(scenes, action=actions)), replace(scenes, action=actions))
    found = varied(clean, torch.Generator().manual_seed(0))
    again = shown(found.frames, found.scenes)
    assert (found.scenes.colour != clean.scenes.colour).float().mean() > 0.4
    assert (found.scenes.action != clean.scenes.action).any()
    for field in ("x", "y", "radius"):
        seen, known = getattr(again.tracks, field), getattr(found.tracks, field)
        assert (seen - known).abs().median() < 0.01
    happened, expected = (
        measure.verdict(clips.tracks, found.scenes.action, clips.strengths).happened
        for clips in (again, found)
    )
    assert (happened == expected).float().mean() > 0.9
    assert (found.scenes.other_place[:, 0] >= 0).all()


def test_clips_come_with_their_own_measurement(
    vae: AutoencoderKLLTX2Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = world.draw(6, 3, ["grow"])
    pool = shown(world.render(scenes), scenes)
    for change in ("camera", "varied"):
        monkeypatch.setattr(f"sparks.pocket.training.shown.{change}", lambda clips, rng: clips)
    known = reel(vae, pool).draw(0)
    assert len(known.frames) == len(known) == 4 + 2
    track = measure.track(known.frames.float() / 255, known.scenes.colour)
    for field in fields(track):
        torch.testing.assert_close(getattr(known.tracks, field.name), getattr(track, field.name))
    torch.testing.assert_close(known.strengths, measure.strengths(track))
    grown = measure.verdict(known.tracks, known.scenes.action, known.strengths).happened
    assert grown[4:].all()
