"""Experiments as the paper's authors write them."""

from pathlib import Path
from typing import Any

import pytest

from sparks.editors.schedule import Sampling
from sparks.errors import SparksError
from sparks.experiments.tasks import read_scenarios, task_list
from sparks.settings.construct import construct
from sparks.settings.layers import merge
from sparks.settings.schema import Config
from sparks.settings.yaml import presets, read_settings
from sparks.solvers.adam import Adam

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
    assert config.clip.fit == "squash"
    watch = config.critic.watch
    assert (watch.num_frames, watch.sampling, watch.windows, watch.start) == (8, "normal", 3, 4)
    assert config.critic.options["size"] == [224, 224]
    assert config.solver.options["patience"] is None
    assert config.solver.options["clip_norm"] is None
    assert config.solver.options["lr_floor"] == 0.01  # of the preset below
    assert config.objective.weights.latent_alpha == 0
    assert config.space.options == {"mode": "both", "audio_init": "zero"}
    assert config.budget == "renders=30"


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        ("text_reg_anchor: none", "objective.weights.latent_v", 0),
        ("text_reg_anchor: base", "objective.weights.latent_v", 0.001),
        ("audio_reg_anchor: none", "objective.weights.latent_alpha", 0),
        ("audio_reg_anchor: init", "objective.anchor", "init"),
        ("best_min_loss_delta: 0.1", "solver.min_delta", 0.1),
        ("reg_schedule: linear_warmup", "objective.latent_schedule", "linear"),
        (
            "qwen_motion_question: 'Is it so: {edit_prompt}?'",
            "critic.question",
            "Is it so: {prompt}?",
        ),
        ("retake_num_inference_steps: 12", "sampling.num_inference_steps", 12),
        ("num_inference_steps: 12", "sampling.num_inference_steps", 12),
        ("frame_rate: 24", "clip.fps", 24),
        ("cfg_scale: 2", "guidance.tuning.video.guidance_scale", 2),
        ("cfg_scale: 2", "guidance.final.video.guidance_scale", 2),
        ("cfg_scale: 2", "guidance.final.video.stg_scale", 1),
        ("cfg_scale: 2", "guidance.tuning.video.stg_scale", 0),
        ("audio_cfg_scale: 2", "guidance.tuning.audio.guidance_scale", 2),
        ("a2v_scale: 2", "guidance.tuning.video.modality_scale", 2),
        ("a2v_scale: 2", "guidance.final.video.modality_scale", 2),
        ("low_memory_guidance: false", "guidance.tuning.video.stg_scale", 1),
    ],
)
def test_each_of_their_keys_has_its_counterpart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, place: str, value: Any
) -> None:
    (tmp_path / "theirs.yaml").write_text(f"edit_prompt: it moves\n{line}\n")
    for below in ("paper", "reference", "distilled"):
        settings = merge(read_settings(below), read_settings(tmp_path / "theirs.yaml"))
        found: Any = Config.resolve(settings).model_dump(mode="json")
        for part in place.split("."):
            found = found[part]
        assert found == value
    assert caplog.records == []


def test_a_key_that_they_leave_out_is_what_it_is_to_them(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("edit_prompt: it moves\nlr: null\n")
    for below in ("paper", "pocket"):
        settings = merge(read_settings(below), read_settings(tmp_path / "theirs.yaml"))
        config = Config.resolve(settings)
        assert (config.objective.weights.lpips, config.objective.weights.temporal) == (0, 0)
        assert config.objective.latent_schedule == "cosine_increase"
        assert (config.critic.windows, config.critic.start, config.critic.num_frames) == (3, 4, 8)
        assert (config.clip.size, config.clip.num_frames, config.clip.fps) == ((320, 512), 95, None)
        assert (config.solver.name, config.solver.options["lr"]) == ("adam", 0.005)
        assert (config.prefix_frames, config.budget, config.seed) == (5, "renders=30", 42)
        construct("solver", Adam, config.solver.options)


def test_what_has_no_counterpart_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "theirs.yaml").write_text(
        "edit_prompt: it moves\nqwen_gradient_rubric: full\nlpips_backbone: vgg\n"
        "wandb_mode: offline\nframe_stride: 1\nmax_eval_frames: 33\nquantization: fp8-cast\n"
        "final_retake_num_inference_steps: 40\nshiny_new_key: [1, 2]\n"
    )
    read_settings(tmp_path / "theirs.yaml")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{tmp_path}/theirs.yaml: not taken over, as nothing here is like it: "
        "qwen_gradient_rubric=full, lpips_backbone=vgg, wandb_mode, max_eval_frames=33, "
        "quantization=fp8-cast, final_retake_num_inference_steps=40, shiny_new_key=[1, 2]"
    )


@pytest.mark.parametrize("line", ["text_reg_anchor: somewhere", "cfg_scale: high", "seed: [1]"])
def test_values_that_cannot_be_put_are_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "theirs.yaml").write_text(f"edit_prompt: it moves\n{line}\n")
    with pytest.raises(SparksError, match="cannot be used") as error:
        read_settings(tmp_path / "theirs.yaml")
    assert "\n" not in str(error.value)


def test_their_folders_are_task_lists(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    (task,) = task_list(str(repository / "editing" / "configs"))
    assert (task.name, task.prefix_frames) == ("red_rose", 10)
    assert task.source == repository / "input_videos" / "rose.mp4"
    assert task.static_prompt == "A red rose bud in a green grass field."
    assert [record.getMessage() for record in caplog.records] == [
        f"{repository}/editing/configs: source, prompts and retake_start_frames of 1 experiments "
        "are taken, all else is as --config and --set say"
    ]


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
