"""Settings that a model cannot be run with are refused before it is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from sparks.errors import SparksError
from sparks.runs.resolve import check_settings
from sparks.settings.layers import assignments, merge
from sparks.settings.yaml import read_settings
from tests.editors.conftest import write_model


def resolved(*configs: str, **settings: Any) -> None:
    check_settings(merge(*map(read_settings, configs), settings))


def test_the_papers_preset_on_the_bundled_model_names_the_models_own() -> None:
    for configs in (["paper"], ["reference"], ["paper", "distilled"]):
        with pytest.raises(SparksError) as error:
            resolved(*configs)
        assert str(error.value) == (
            "size 512x320 does not fit this model: give clip.size [height, width] in multiples of "
            "24; the preset of this model is pocket: --config pocket, after any other"
        )
    resolved("paper", "pocket")
    with pytest.raises(SparksError, match=r"stg_blocks has 28.*last block is 5.*--config pocket"):
        resolved("paper", clip={"size": [96, 96]})
    resolved("paper", clip={"size": [96, 96]}, guidance={"final": {}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


def test_a_model_with_settings_of_its_own_says_where_they_are(folder: Path) -> None:
    def solve(*pairs: str) -> None:
        check_settings(merge({"model": str(folder)}, assignments(pairs)))

    with pytest.raises(SparksError, match=r"multiples of 8$"):
        solve("clip.size=[30, 32]", "guidance.final={}")
    (folder / "sparks.yaml").write_text("guidance: {final: {}}\n")
    with pytest.raises(SparksError, match=r"multiples of 8; .*sparks.yaml has what suits"):
        solve("clip.size=[30, 32]")
    solve("clip.size=[32, 40]")
    vae = folder / "vae" / "config.json"
    config = json.loads(vae.read_text())
    vae.write_text(json.dumps({**config, "spatial_compression_ratio": None}))
    with pytest.raises(SparksError, match="multiples of 8"):  # 2 * 2 ** 2, as without it
        solve("clip.size=[30, 32]")
    vae.write_text("{")
    solve("clip.size=[30, 32]")  # what is wrong here is the editor's to say


@pytest.mark.parametrize("which", ["tuning", "final"])
def test_blocks_that_the_model_lacks(folder: Path, which: str) -> None:
    stg = f"guidance.{which}={{video: {{stg_scale: 1, stg_blocks: [1, 2]}}}}"
    with pytest.raises(SparksError, match="stg_blocks has 2, but the model's last block is 1"):
        check_settings(merge({"model": str(folder)}, assignments(["guidance.final={}", stg])))


def test_steps_that_are_all_skipped_are_refused_for_solvers_that_need_their_gradient() -> None:
    skipping = {
        "sampling": {"num_inference_steps": 8, "grad_steps": 2},
        "guidance": {"tuning": {"skip_step": 9}},
    }
    with pytest.raises(SparksError, match="skip_step is 9: none of the last 2 of 8 steps"):
        check_settings(skipping)
    check_settings({**skipping, "solver": {"name": "random"}})
    check_settings({**skipping, "guidance": {"tuning": {"skip_step": 5}}})
