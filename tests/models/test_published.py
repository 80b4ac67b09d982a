"""The full-size configurations, built without memory."""

import json
from pathlib import Path

import pytest
import torch

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.models.published import LTX_2, LTX_23, QWEN_7B, Component
from sparks.runs.cache import Cache
from sparks.runs.judging import build_objective, perceptual_distance
from sparks.settings.schema import Config
from sparks.spaces.base import FullSpace

COMPONENTS = {
    **{f"2.3 {name}": component for name, component in LTX_23.items()},
    **{f"2.0 {name}": LTX_2[name] for name in ("transformer", "vae", "vocoder", "connectors")},
    "qwen": QWEN_7B,
}


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS.keys())
def test_parameter_counts(component: Component) -> None:
    network = component.build("meta", torch.bfloat16)
    assert sum(parameter.numel() for parameter in network.parameters()) == component.parameters
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    if component is LTX_23["transformer"]:
        block = network.transformer_blocks[0]
        assert sum(parameter.numel() for parameter in block.parameters()) == 386_695_360
    if component is LTX_23["vae"]:
        assert (network.spatial_compression_ratio, network.temporal_compression_ratio) == (32, 8)


def claim_parameters(folder: Path) -> Path:
    """A model folder whose file says that it has a thousand million numbers."""
    header = {"weight": {"dtype": "F32", "shape": [1000, 1000, 1000], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    (folder / "transformer").mkdir(parents=True)
    file = folder / "transformer" / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    return folder


def test_lpips_without_its_trunk_is_an_error_at_full_size_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    folder = claim_parameters(tmp_path / "model")
    with pytest.raises(SparksError, match=r"need AlexNet at .*lpips=0 --set objective\.weights"):
        perceptual_distance(folder, str(folder))
    start = Controls(torch.zeros(1, 2, 5, 3), torch.zeros(1, 4, 6))
    terms = {"lpips": 0, "temporal": 0}
    config = Config.resolve({"model": str(folder), "objective": {"weights": terms}})
    objective = build_objective(config, start, FullSpace(start), folder, Cache())
    assert not objective.needs_reference


def test_the_trunk_for_small_models_is_refused(tmp_path: Path) -> None:
    folder = claim_parameters(tmp_path / "model")
    (folder / "perceptual").mkdir()
    with pytest.raises(SparksError, match="is a trunk for small models; remove it"):
        perceptual_distance(folder, str(folder))
