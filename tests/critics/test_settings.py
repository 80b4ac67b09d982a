"""Critics as settings ask for them, on a tiny model of the real classes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.critics.contrast import ClipCritic
from sparks.critics.sampling import MODES
from sparks.errors import SparksError
from sparks.media.clip import write_clip
from sparks.runs.edit import edit, go_on
from sparks.runs.prepare import prepare
from sparks.settings.layers import merge
from sparks.testing import check_critic
from tests.critics.conftest import STILL
from tests.editors.conftest import make_clip, write_model

CRITIC = """
class Redness:
    differentiable = True

    def __init__(self, sharpness: float = 40.0) -> None:
        self.sharpness = sharpness

    def log_odds(self, frames, prompt, indices=None):
        chosen = frames[:, list(indices)]
        return self.sharpness * (chosen[:, :, 0] - chosen[:, :, 2]).mean((1, 2, 3))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("workplace")
    write_model(folder / "model")
    shutil.copytree(folders["clip"], folder / "model" / "clip")
    (folder / "critic.py").write_text(CRITIC)
    write_clip(folder / "source.mp4", make_clip(9, size=32))
    return {
        "video": str(folder / "source.mp4"),
        "prompt": "a red ball jumps",
        "static_prompt": STILL,
        "model": str(folder / "model"),
        "sampling": {"num_inference_steps": 2, "grad_steps": 1},
        "guidance": {"final": {"stg_blocks": []}},
        "objective": {"weights": {"lpips": 0, "temporal": 0}},
    }


def redness(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": f"{Path(settings['model']).parent}/critic.py:Redness", **more}


def test_clip_comes_from_the_model_folder_and_contrasts_with_the_static_prompt(
    settings: dict[str, Any],
) -> None:
    critic = prepare({**settings, "critic": {"name": "clip", "scale": 3}}).problem.critic
    assert isinstance(critic, ClipCritic)
    assert critic.contrast == [STILL]
    assert critic.scale == 3


def test_a_composite_searches_and_is_charged_for_its_parts(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    parts = [redness(settings, any_window=2), {"name": "clip", "weight": 0.5, "scale": 2}]
    asked = {**settings, "critic": {"name": "composite", "parts": parts, "num_frames": 4}}
    result = edit({**asked, "budget": "qwen_calls=11"}, tmp_path / "run")
    assert result["spent"]["qwen_calls"] == 9
    assert result["spent"]["renders"] == 3
    assert result["p_yes_best"] >= result["p_yes_baseline"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"sharp": 3}, "unknown setting 'critic.sharp'; did you mean 'sharpness'"),
        ({"num_frames": 0}, "critic.num_frames=0"),
        ({"weight": 0}, "weight 0"),
    ],
)
def test_mistakes_in_a_part_are_told(
    settings: dict[str, Any], part: dict[str, Any], message: str
) -> None:
    critic = {"name": "composite", "parts": [redness(settings, **part)]}
    with pytest.raises(SparksError, match=message):
        prepare({**settings, "critic": critic})


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("sampling", MODES)
def test_every_sampling_goes_through_an_edit_and_its_judge(
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sampling: str,
    windows: int,
) -> None:
    asked = {
        **settings,
        "critic": redness(settings, sampling=sampling, windows=windows, num_frames=4, start=2),
        "judge": redness(settings, sharpness=-40),
        "guidance": {"final": {}},  # what was scored is what is shown
        "solver": {"name": "random", "batch": 3},
        "space": {"name": "temporal"},
        "budget": f"qwen_calls={4 * windows}",
    }
    whole = edit(asked, tmp_path / "whole", pictures=False)
    assert whole["p_yes_edited"] == pytest.approx(whole["p_yes_best"], abs=1e-4)
    # The judge is shown the same windows of each video, as the critic is of the start.
    assert whole["p_yes_judge_baseline"] == pytest.approx(1 - whole["p_yes_baseline"], abs=1e-4)

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sparks.runs.edit._conclude", cut_off)
        with pytest.raises(KeyboardInterrupt):
            edit(asked, tmp_path / "run", pictures=False)
    resumed = go_on(tmp_path / "run", named=asked)
    for key in ("p_yes_best", "p_yes_edited", "p_yes_judge_baseline", "p_yes_judge_edited"):
        assert resumed[key] == whole[key]


@pytest.mark.parametrize("name", ["clip", "composite"])
def test_a_critic_that_is_not_told_looks_at_the_same_frames_every_time(
    settings: dict[str, Any], name: str
) -> None:
    critic = {"name": name, "sampling": "contiguous_random", "num_frames": 2}
    if name == "composite":
        critic["parts"] = [{"name": "clip"}]
    built = prepare({**settings, "critic": critic}).problem.critic
    frames = torch.rand(2, 9, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    check_critic(built, frames, "a red ball jumps")


def test_another_critic_is_shown_what_the_one_before_it_was() -> None:
    below = {"critic": {"name": "qwen", "num_frames": 24, "windows": 3, "norm": "legacy"}}
    assert merge(below, {"critic": {"name": "clip", "windows": 1}}) == {
        "critic": {"name": "clip", "num_frames": 24, "windows": 1}
    }
