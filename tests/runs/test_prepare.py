"""From settings to a problem: what is read, encoded, kept for the next edit and charged."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.editors.guidance import Guidance
from sparks.errors import SparksError
from sparks.media.clip import write_clip
from sparks.runs.cache import Cache
from sparks.runs.prepare import Prepared, prepare
from sparks.search.budget import Budget, BudgetExhausted, Meter
from sparks.settings.layers import merge
from sparks.settings.yaml import read_settings
from tests.editors.conftest import make_clip


@pytest.fixture(autouse=True)
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


def prepared(cache: Cache | None = None, budget: Any = None, **more: Any) -> Prepared:
    asked = {"video": "own.mp4", "prompt": "a blue ball grows"}
    return prepare(merge(read_settings("settings.yaml"), asked, more), None, cache, budget)


def test_what_is_edited_is_written_down() -> None:
    facts = prepared(seed=7, prefix_frames=9).facts
    digest = hashlib.sha256(Path("own.mp4").read_bytes()).hexdigest()
    assert facts["prompt"] == "a blue ball grows"
    assert facts["source"] == {"name": "own.mp4", "sha256": digest}
    assert facts["clip"] == {"frames": 17, "size": [16, 16], "fps": "25/2"}
    assert facts["kept"] == {
        "prefix_frames": 9,
        "window": None,
        "latent_frames": 3,  # of 4 frames each, after the first one
        "frames": 9,
    }
    assert facts["seeds"] == {"noise": 7, "search": 7, "windows": 7}
    assert set(facts["fingerprint"]) == {"model", "text_encoder"}


def test_the_clip_is_brought_to_the_shape_asked_for() -> None:
    slow = prepared(clip={"fps": 6.25}, prefix_frames=1).source
    assert slow.frames.shape == (5, 3, 16, 16)  # of 8, since 4 n + 1 can be encoded
    assert slow.fps == 6.25
    made = prepared(clip={"size": [16, 8], "num_frames": 9})
    assert made.source.frames.shape == (9, 3, 16, 8)
    assert made.problem.conditioning.num_frames == 9
    assert made.problem.baseline.shape == (9, 3, 16, 8)


def test_a_silent_clip_gets_the_sound_that_the_editor_imagines() -> None:
    write_clip("silent.mp4", make_clip(17, sound=False))
    alphas = [
        prepared(video="silent.mp4", **more).problem.conditioning.alpha_0
        for more in ({}, {"static_prompt": "a red ball"}, {"audio_prompt": "a red ball"})
    ]
    assert prepared(video="silent.mp4").source.waveform is None
    assert alphas[0].std() > 0
    assert not torch.equal(alphas[0], alphas[1])
    assert torch.equal(alphas[1], alphas[2])


def test_equal_parts_are_kept_and_a_search_is_its_own() -> None:
    cache = Cache()
    first, same = prepared(cache), prepared(cache)
    assert same.problem.editor is first.problem.editor
    assert same.problem.critic is first.problem.critic
    assert same.problem.conditioning is first.problem.conditioning
    first.problem.evaluate(torch.zeros(first.problem.dim))
    assert (first.problem.meter.renders, same.problem.meter.renders) == (1, 0)
    other = prepared(cache, seed=1)
    assert other.problem.editor is first.problem.editor
    assert not torch.equal(
        other.problem.conditioning.noise_video, first.problem.conditioning.noise_video
    )
    sharp = prepared(cache, critic={"sharpness": 1.0})
    assert sharp.problem.critic is not first.problem.critic
    config = Path("model", "transformer", "config.json")
    config.touch()
    assert prepared(cache).problem.editor is not first.problem.editor


def test_what_follows_draws_the_same_whatever_was_kept() -> None:
    cache, draws = Cache(), []
    for given in (None, cache, cache):
        torch.rand(3)
        prepared(given, seed=5)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1] == draws[2]


def test_the_budget_is_the_settings_or_what_is_given() -> None:
    assert prepared().problem.meter.budget == Budget(qwen_calls=2)
    assert prepared(budget=Budget(renders=5)).problem.meter.budget == Budget(renders=5)
    meter = Meter(Budget(renders=2))
    first, second = prepared(budget=meter).problem, prepared(budget=meter).problem
    for problem in (first, second):
        problem.evaluate(torch.zeros(problem.dim))
    assert first.meter is second.meter
    with pytest.raises(BudgetExhausted):
        first.evaluate(torch.zeros(first.dim))


def test_the_prompt_only_render_at_full_guidance_is_made_once_for_equal_edits() -> None:
    cache = Cache()
    made = prepared(cache)
    editor: Any = made.problem.editor
    untuned = editor.start(made.problem.conditioning)
    expected = made.problem.render(untuned, made.config.guidance.final)
    before = editor.forwards
    assert torch.equal(made.baseline(), expected)
    once = editor.forwards
    assert once > before
    assert torch.equal(prepared(cache).baseline(), expected)
    assert editor.forwards == once
    assert not torch.equal(prepared(cache, seed=1).baseline(), expected)
    assert editor.forwards > once


def test_what_the_search_is_compared_with_is_not_rendered_again_under_the_same_guidance() -> None:
    plain = Guidance()
    made = prepared(guidance={"tuning": plain, "final": plain})
    editor: Any = made.problem.editor
    again = made.problem.render(editor.start(made.problem.conditioning), plain)
    searched, before = made.problem.baseline, editor.forwards
    assert torch.equal(made.baseline(), searched)
    assert torch.equal(again, searched)
    assert editor.forwards == before
    video = {"guidance_scale": 3.0}
    other = prepared(guidance={"tuning": plain, "final": {"video": video}})
    assert not torch.equal(other.baseline(), other.problem.baseline)


def test_an_editor_that_cannot_encode_is_named(tmp_path: Path) -> None:
    folder = shutil.copytree("model", tmp_path / "odd")
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"scaling_factor": "x"}))
    with pytest.raises(SparksError, match=r"editor LTX2Editor failed with TypeError"):
        prepared(model=str(folder))
