"""What critics are shown while they learn."""

from dataclasses import fields

import pytest
import torch
from diffusers import AutoencoderKLLTX2Video

from sparks.pocket import measure, weights_path, world
from sparks.pocket.training.shown import DRAWN, Reel, Shown, shown


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLLTX2Video:
    return AutoencoderKLLTX2Video.from_pretrained(weights_path() / "vae").eval()


def reel(vae: AutoencoderKLLTX2Video, pool: Shown | None = None) -> Reel:
    return Reel(vae, 4, 2 * DRAWN, 1, torch.device("cpu"), pool)


def test_a_step_shows_the_same_whatever_came_before(vae: AutoencoderKLLTX2Video) -> None:
    first = reel(vae)
    drawn = [first.draw(step) for step in (0, 1, 500)]
    frames, known = reel(vae).draw(1)
    assert torch.equal(frames, drawn[1][0])
    assert torch.equal(known.tracks.x, drawn[1][1].tracks.x)
    assert not torch.equal(frames, drawn[0][0])
    assert not torch.equal(frames, drawn[2][0])


def test_clips_come_with_their_own_measurement(vae: AutoencoderKLLTX2Video) -> None:
    scenes = world.draw(6, 3, ["grow"])
    pool = shown(world.render(scenes), scenes)
    frames, known = reel(vae, pool).draw(0)
    assert len(frames) == len(known) == 4 + 2
    track = measure.track(frames, known.scenes.colour)
    for field in fields(track):
        torch.testing.assert_close(getattr(known.tracks, field.name), getattr(track, field.name))
    torch.testing.assert_close(known.strengths, measure.strengths(track))
    grown = measure.verdict(known.tracks, known.scenes.action, known.strengths).happened
    assert grown[4:].all()
