"""Whole edits with LTX-Video, and what an editor without audio is not asked for."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.editors.controls import load_controls
from sparks.errors import SparksError
from sparks.media.clip import read_clip, write_clip
from sparks.runs.doctor import examine
from sparks.runs.resolve import check_settings
from sparks.settings.yaml import read_settings
from tests.editors.conftest import make_clip
from tests.editors.ltxv_model import TOKENS, write_ltxv_model
from tests.workplace import CRITIC, REDNESS, Sparks

EDITOR = "ltxv"
MODEL = (
    "--model",
    "model",
    "--set",
    f"editor.name={EDITOR}",
    "--set",
    f"editor.text_tokens={TOKENS}",
)
SHORT = (
    *("--set", "sampling.num_inference_steps=2", "--set", "sampling.grad_steps=1"),
    *("--set", "objective.weights={lpips: 0, temporal: 0}", "--budget", "qwen_calls=3"),
)
TEXT = ("--set", "space.mode=text")
EDIT = ("solve", "own.mp4", "--prompt", "a red ball jumps", *MODEL, *CRITIC, *SHORT)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    write_ltxv_model(folder / "model")
    (folder / "plugins.py").write_text(REDNESS)
    write_clip(folder / "own.mp4", make_clip(17))
    write_clip(folder / "silent.mp4", make_clip(25, sound=False))
    return folder


@pytest.fixture(autouse=True)
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)


@pytest.fixture
def tuned(sparks: Sparks, at_work: None) -> Path:
    """A run with Adam, where every element of the text is free; made once."""
    run = Path("tuned")
    if not run.exists():
        free = ("--set", "space.name=full", "--set", "solver.lr=0.3")
        code, _, err = sparks(*EDIT, *TEXT, *free, "--output", "tuned")
        assert code == 0, err
    return run


def test_the_text_is_tuned(tuned: Path) -> None:
    result = json.loads((tuned / "result.json").read_text())
    assert result["spent"]["qwen_calls"] == 3
    assert result["p_yes_best"] > result["p_yes_baseline"]
    assert result["losses"]["latent_alpha"] == 0
    controls = load_controls(tuned / "best.safetensors")
    assert controls.alpha.shape == (1, 0, 0, 0)
    assert controls.delta_v.shape == (1, TOKENS, 16)
    assert controls.delta_v.any()


def test_the_sound_of_the_source_stays(tuned: Path) -> None:
    edited, source = read_clip(tuned / "edited.mp4"), read_clip("own.mp4")
    assert edited.frames.shape == source.frames.shape
    assert edited.waveform is not None
    assert source.waveform is not None
    length = min(edited.waveform.shape[1], source.waveform.shape[1])
    heard, said = edited.waveform[0, :length], source.waveform[0, :length]
    assert torch.corrcoef(torch.stack([heard, said]))[0, 1] > 0.9


def test_the_run_says_how_it_was_made(tuned: Path) -> None:
    config = read_settings(tuned / "config.yaml")
    assert config["editor"]["name"] == EDITOR
    assert config["sampling"]["schedule"] == "linear_quadratic"
    assert config["guidance"]["final"]["video"]["guidance_scale"] == 3
    assert config["guidance"]["final"]["stg_blocks"] == []


def test_controls_go_to_a_longer_clip_without_sound(
    sparks: Sparks, tuned: Path, tmp_path: Path
) -> None:
    code, out, err = sparks(
        *("transfer", str(tuned), "--video", "silent.mp4", "--prompt", "a blue square grows"),
        *(*CRITIC, "--set", f"editor.name={EDITOR}", "--output", str(tmp_path / "moved"), "--json"),
    )
    assert code == 0, err
    assert json.loads(out)["stretched"] == 1
    assert read_clip(tmp_path / "moved" / "edited.mp4").waveform is None


@pytest.mark.parametrize("solver", ["cma", "hybrid", "ppo", "best-of-seeds"])
def test_solvers_that_draw_search_the_text(sparks: Sparks, tmp_path: Path, solver: str) -> None:
    code, out, err = sparks(
        *(*EDIT, *TEXT, "--solver", solver, "--set", "space={name: temporal, rank: 2}"),
        *("--output", str(tmp_path / "run"), "--json"),
    )
    assert code == 0, err
    assert json.loads(out)["spent"]["qwen_calls"] == 3


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ((), "space.mode is both, and the editor {} has no audio; set space.mode=text"),
        (("--set", "space.mode=audio"), "space.mode is audio, and the editor {} has no audio"),
        ((*TEXT, "--set", "space.audio_init=zero"), "set space.audio_init=source"),
        ((*TEXT, "--set", "sound=tuned"), "sound is tuned, and the editor {} has no audio"),
        ((*TEXT, "--set", "audio_prompt=hm"), "audio_prompt is hm, and the editor {} has no"),
    ],
    ids=["default", "audio", "audio_init", "sound", "audio_prompt"],
)
def test_audio_is_refused_before_anything_is_loaded(
    sparks: Sparks, tmp_path: Path, options: Any, refusal: str
) -> None:
    code, out, err = sparks(
        *(*EDIT, *options, "--model", "far/away", "--output", str(tmp_path / "run"))
    )
    assert code == 2
    assert not out
    assert refusal.format(EDITOR) in " ".join(err.split())
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_doctor_knows_which_parts_it_has(tmp_path: Path) -> None:
    name = str(Path("model").absolute())
    assert examine(name)["models"][name]["state"] == "here"
    whole = write_ltxv_model(tmp_path / "model")
    for file in (whole / "text_encoder").glob("*.safetensors"):
        file.unlink()
    state = examine(str(whole))["models"][str(whole)]
    assert (state["state"], state["why"]) == ("incomplete", "no text_encoder")


def test_a_space_refuses_audio_by_itself() -> None:
    from sparks.editors.controls import Controls
    from sparks.spaces.base import FullSpace

    start = Controls(torch.zeros(1, 0, 0, 0), torch.zeros(1, 4, 6))
    for mode in ("both", "audio"):
        with pytest.raises(SparksError, match=f"space mode is '{mode}', and this editor has no"):
            FullSpace(start, mode=mode)
    with pytest.raises(SparksError, match=r"set space\.audio_init=source"):
        FullSpace(start, mode="text", audio_init="random")


def test_what_the_user_says_stands_above_the_editor() -> None:
    said = {"editor": {"name": EDITOR}, "space": {"mode": "text"}, "model": "model"}
    clip = {"video": "own.mp4", "prompt": "it"}
    assert check_settings({**said, **clip}).sampling.schedule == "linear_quadratic"
    shifted = {**said, **clip, "sampling": {"schedule": "shifted"}}
    assert check_settings(shifted).sampling.schedule == "shifted"
