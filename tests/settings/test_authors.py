"""Experiments as the paper's authors write them."""

from pathlib import Path

import pytest

from sparks.editors.schedule import Sampling
from sparks.errors import SparksError
from sparks.experiments.tasks import read_scenarios, task_list
from sparks.settings.layers import merge
from sparks.settings.schema import Config
from sparks.settings.yaml import presets, read_settings

THEIRS = """
# Usage: run.sh FILE
src_video: "input_videos/rose.mp4"
edit_prompt: "A red rose blooming."
static_prompt: "A red rose bud in a green grass field."
negative_prompt: "blurry"
experiment_name: "rose"
opt_mode: "both"
seed: 7
enhance_prompt: true
height: 320
width:  512
num_frames: 95
frame_rate: null
iterations: 30
early_stopping: 0
lr: 0.005
lr_schedule: "cosine"
grad_clip: 0.0
retake_start_frames: 10
num_inference_steps: 30
audio_opt_last_steps: 8
qwen_max_frames: 8
qwen_img_size: 224
qwen_sample_mode: "normal"
qwen_contiguous_start_frame: 4
qwen_grad_accum_steps: 3
lpips_weight: 0.1
temporal_weight: 0.05
latent_reg_weight: 0.01
text_reg_weight: 0.001
reg_schedule: "cosine_increase"
audio_init: "zero"
audio_reg_anchor: "none"
wandb_mode: "offline"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    configs = tmp_path / "editing" / "configs"
    configs.mkdir(parents=True)
    (configs / "red_rose.yaml").write_text(THEIRS)
    (configs / "notes.yaml").write_text("other: file\n")
    (tmp_path / "input_videos").mkdir()
    (tmp_path / "input_videos" / "rose.mp4").touch()
    return tmp_path


def test_their_files_are_settings(repository: Path) -> None:
    file = repository / "editing" / "configs" / "red_rose.yaml"
    config = Config.resolve(merge(read_settings("reference"), read_settings(file)))
    assert (config.prompt, config.prefix_frames, config.seed) == ("A red rose blooming.", 10, 7)
    assert (config.clip.size, config.clip.num_frames, config.clip.fps) == ((320, 512), 95, None)
    watch = config.critic.watch
    assert (watch.num_frames, watch.sampling, watch.windows, watch.start) == (8, "normal", 3, 4)
    assert config.critic.options["size"] == [224, 224]
    assert config.solver.options["patience"] is None
    assert config.solver.options["clip_norm"] is None
    assert config.solver.options["lr_floor"] == 0.01  # of the preset below
    assert config.objective.weights.latent_alpha == 0
    assert config.space.options == {"mode": "both", "audio_init": "zero"}
    assert config.budget == "renders=30"


def test_their_folders_are_task_lists(repository: Path) -> None:
    (task,) = task_list(str(repository / "editing" / "configs"))
    assert (task.name, task.prefix_frames) == ("red_rose", 10)
    assert task.source == repository / "input_videos" / "rose.mp4"
    assert task.static_prompt == "A red rose bud in a green grass field."


def test_what_is_missing_is_said(repository: Path, tmp_path: Path) -> None:
    configs = repository / "editing" / "configs"
    (repository / "input_videos" / "rose.mp4").unlink()
    with pytest.raises(SparksError, match=r"src_video='input_videos/rose.mp4' is not beside"):
        read_scenarios(configs)
    with pytest.raises(SparksError, match="no experiments in"):
        read_scenarios(tmp_path)
    (configs / "red_rose.yaml").write_text(THEIRS.replace("30\n", "many\n", 1).replace("7", "x"))
    with pytest.raises(SparksError, match="seed='x' cannot be used"):
        read_settings(configs / "red_rose.yaml")


SCENARIOS = [name for name in presets() if name.startswith("scenarios/")]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_papers_scenarios_are_settings(name: str) -> None:
    config = Config.resolve(merge(read_settings("reference"), read_settings(name)))
    assert config.prompt
    assert config.static_prompt
    assert config.solver.name == "adam"
    assert config.critic.windows in (1, 3)
    assert 1 <= (config.prefix_frames or 0) <= 25


def test_there_are_all_of_them() -> None:
    assert len(SCENARIOS) == 22


def test_the_distilled_preset_has_eight_steps_and_no_guidance() -> None:
    config = Config.resolve(merge(read_settings("paper"), read_settings("distilled")))
    assert len(config.sampling.sigmas) == 9
    assert isinstance(config.sampling, Sampling)
    assert not config.guidance.final.video.weights
    assert config.guidance.final.video.rescale == 0
