"""Memory plans, and what the doctor says."""

import json
import struct
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from sparks.cli import app
from sparks.editors.footprint import STORAGES
from sparks.errors import SparksError
from sparks.models.published import LTX_23, QWEN_7B
from sparks.models.weights import (
    KNOWN_EDITORS,
    count_parameters,
    fetch,
    find,
    is_full_size,
    parameters,
)
from sparks.runs.doctor import describe, examine
from sparks.runs.memory_plan import GIB, Shape, _networks, make_plan, plan_edit
from sparks.settings.schema import Config
from tests.editors.conftest import write_model

SIZES = {name: component.parameters for name, component in LTX_23.items()}


@pytest.mark.parametrize(
    ("free", "storage", "text_device"),
    [(139, "resident", None), (80, "resident", None), (48, "fp8", None), (30, "offload", "cpu")],
)
def test_the_quickest_way_that_fits(free: int, storage: str, text_device: str | None) -> None:
    plan = make_plan(SIZES, QWEN_7B.parameters, Shape(), device="a card", free=free * GIB)
    assert plan.fits
    assert (plan.storage, plan.text_device) == (storage, text_device)
    assert plan.peak("search") < free * GIB
    assert plan.phases["search"]["critics"] == 2 * QWEN_7B.parameters
    assert plan.lines()[0] == f"memory of a card: {free}.0 GiB free, denoiser {storage}"
    assert STORAGES == ("resident", "fp8", "offload")


def test_too_small_a_card() -> None:
    plan = make_plan(SIZES, QWEN_7B.parameters, Shape(), device="a card", free=16 * GIB)
    assert not plan.fits
    forced = make_plan(
        SIZES, QWEN_7B.parameters, Shape(), device="a card", free=16 * GIB, storage="resident"
    )
    assert (forced.storage, forced.fits) == ("resident", False)


def test_an_edit_that_does_not_fit_is_refused_before_anything_is_loaded() -> None:
    config = Config(model=KNOWN_EDITORS[0], clip={"size": (8192, 8192), "num_frames": 2001})
    with pytest.raises(SparksError, match=r"needs \d+\.\d GiB and .* are free; lower clip"):
        plan_edit(config, torch.device("cpu"))
    asked = Config(**config.model_dump(exclude={"editor"}), editor={"storage": "offload"})
    assert plan_edit(asked, torch.device("cpu")).storage == "offload"


def test_the_bundled_model_is_small() -> None:
    plan = plan_edit(Config(), torch.device("cpu"))
    assert plan is not None
    assert plan.fits
    assert not plan.large
    assert not is_full_size("pocket")
    assert all(is_full_size(name) for name in KNOWN_EDITORS)


def test_parameters_are_counted_from_the_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = torch.nn.Linear(3, 5)
    save_file(network.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    assert count_parameters(tmp_path) == 20
    assert parameters(tmp_path) == {"": 20}
    folder = find("pocket")
    assert folder is not None
    assert {"transformer", "vae", "critic"} <= parameters("pocket").keys()


@pytest.mark.parametrize("content", [b"", b"\0\0", struct.pack("<Q", 2**62), b"\5\0\0\0\0\0\0\0[]"])
def test_half_a_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(SparksError, match="no whole safetensors file; fetch it again"):
        count_parameters(tmp_path)


def test_a_critic_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SparksError, match="'nobody/nothing' is not on this machine"):
        fetch("nobody/nothing")
    fetch(str(tmp_path))  # a folder is left to the critic itself


def test_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    findings = examine(str(tmp_path))
    assert findings["models"]["pocket"]["state"] == "here"
    assert findings["models"][str(tmp_path)]["state"] == "incomplete"
    assert findings["memory"]["free"] <= findings["memory"]["total"]
    assert {each["model"] for each in findings["fits"]} >= {"pocket", *KNOWN_EDITORS}
    text = describe(findings)
    assert "would run pocket with its own: fits, denoiser resident" in text
    assert f"{tmp_path}: incomplete (no transformer" in text


def test_the_doctor_on_the_command_line() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["versions"]["torch"]


@pytest.mark.parametrize("layers", ["six", -1, 0, True, None, [6]])
def test_a_network_that_is_described_in_another_form_is_left_to_loading(
    tmp_path: Path, layers: object
) -> None:
    folder = write_model(tmp_path / "model")
    assert _networks(folder)["layers"] > 0
    config = json.loads((folder / "transformer" / "config.json").read_text())
    (folder / "transformer" / "config.json").write_text(json.dumps(config | {"num_layers": layers}))
    assert _networks(folder) == {}
