"""Weights kept in eight bits or elsewhere."""

from pathlib import Path

import pytest
import torch

from sparks.editors import LTX2Editor
from sparks.editors.levers import LTX2Levers
from sparks.editors.storage import store
from sparks.errors import SparksError
from sparks.media.clip import Clip
from tests.editors.test_levers import conditions, gradient


@pytest.mark.parametrize("storage", ["fp8", "offload"])
def test_stored_weights_compute_the_same(model_folder: Path, clip: Clip, storage: str) -> None:
    plain, stored = (LTX2Editor(model_folder, "cpu", storage=s) for s in ("resident", storage))
    if storage == "fp8":  # what eight bits lose is lost by both
        for module in plain.transformer.transformer_blocks.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data = module.weight.to(torch.float8_e4m3fn).float()
    found, wanted = (gradient(editor, conditions(editor, clip)) for editor in (stored, plain))
    torch.testing.assert_close(found, wanted)


def test_eight_bits_are_smaller(model_folder: Path) -> None:
    transformer = LTX2Editor(model_folder, "cpu").transformer

    def size() -> int:
        return sum(p.numel() * p.itemsize for p in transformer.transformer_blocks.parameters())

    before = size()
    store(transformer, "fp8", torch.device("cpu"))
    assert size() < 0.5 * before


def test_wrong_storage(model_folder: Path) -> None:
    with pytest.raises(SparksError, match="storage is 'disk'; choose resident, fp8, offload"):
        LTX2Editor(model_folder, "cpu", storage="disk")
    with pytest.raises(SparksError, match=r"needs compile, joined_projections, .* off"):
        LTX2Editor(model_folder, "cpu", storage="fp8", levers=LTX2Levers(compile=True))
