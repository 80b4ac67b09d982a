"""A model folder is loaded whole or not at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sparks.errors import SparksError
from sparks.pocket import weights_path
from sparks.runs.doctor import examine
from sparks.runs.edit import edit

Weights = dict[str, Tensor]
FILES = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "audio_vae": "diffusion_pytorch_model.safetensors",
    "connectors": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "critic": "model.safetensors",
    "perceptual": "trunk.safetensors",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(weights_path(), tmp_path / "model"))


def lacks(weights: Weights) -> Weights:
    return dict(list(weights.items())[1:])


def has_more(weights: Weights) -> Weights:
    return {**weights, "stranger": torch.zeros(2)}


def is_misshapen(weights: Weights) -> Weights:
    name, value = next((n, v) for n, v in weights.items() if v.ndim > 1)
    return {**weights, name: value[:-1].contiguous()}


def is_no_number(weights: Weights) -> Weights:
    name, value = next((n, v) for n, v in weights.items() if v.is_floating_point() and v.ndim > 1)
    return {**weights, name: torch.full_like(value, torch.nan)}


@pytest.mark.parametrize("change", [lacks, has_more, is_misshapen, is_no_number])
@pytest.mark.parametrize("part", FILES)
def test_holes_are_refused_in_a_line(
    model: Path, tmp_path: Path, part: str, change: Callable[[Weights], Weights]
) -> None:
    path = model / part / FILES[part]
    save_file(change(load_file(path)), path, {"format": "pt"})
    with pytest.raises(SparksError, match=part if part != "critic" else "critic model") as told:
        edit({"model": str(model), "budget": "qwen_calls=1"}, tmp_path / "run")
    assert "\n" not in str(told.value)
    # What the numbers are is seen when they are read, the denoiser's after the text encoder's.
    assert part == "transformer" or not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", FILES)
def test_torn_files_are_refused_in_a_line(model: Path, tmp_path: Path, part: str) -> None:
    path = model / part / FILES[part]
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SparksError, match="cannot load") as told:
        edit({"model": str(model), "budget": "qwen_calls=1"}, tmp_path / "run")
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("name", ["critic/config.json", "vae/config.json"])
def test_settings_that_are_none_are_refused(model: Path, tmp_path: Path, name: str) -> None:
    (model / name).write_text("[]")
    with pytest.raises(SparksError, match=r"cannot load|not a"):
        edit({"model": str(model), "budget": "qwen_calls=1"}, tmp_path / "run")


def test_doctor_says_which_part_is_not_whole(model: Path) -> None:
    assert examine(str(model))["models"][str(model)]["state"] == "here"
    path = model / "vae" / FILES["vae"]
    save_file(lacks(load_file(path)), path, {"format": "pt"})
    state = examine(str(model))["models"][str(model)]
    assert state["state"] == "incomplete"
    assert "vae" in state["why"]
    assert "missing weights" in state["why"]
