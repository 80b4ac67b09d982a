"""A batch that several devices share, here two copies of the editor on the processor."""

from typing import Any

import pytest
import torch

from sparks.editors.several import SeveralDevices, devices_of
from sparks.errors import SparksError
from sparks.runs.edit import edit
from sparks.runs.prepare import prepare
from sparks.runs.resolve import check_settings

SETTINGS: dict[str, Any] = {
    "sampling": {"num_inference_steps": 2, "grad_steps": 1},
    "budget": "renders=9",
    "objective": {"weights": {"lpips": 0, "temporal": 0}},
}
SHARED = SETTINGS | {"editor": {"devices": ["cpu", "cpu"]}}


@pytest.fixture(scope="module")
def problems() -> tuple[Any, Any]:
    return prepare(SETTINGS).problem, prepare(SHARED).problem


@pytest.mark.parametrize(("gradient", "seed"), [(False, None), (True, [1, 2, 3])])
def test_devices_share_a_batch(problems: tuple[Any, Any], gradient: bool, seed: Any) -> None:
    one, shared = problems
    assert isinstance(shared.editor, SeveralDevices)
    for problem in problems:
        problem.meter.renders = problem.meter.qwen_calls = 0
    before = [editor.forwards for editor in shared.editor._editors]
    z = 0.1 * torch.randn(3, one.dim, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # the first time one after the other, then at the same time
        alone = one.evaluate(z, gradient=gradient, seed=seed, frames=True)
        parts = shared.evaluate(z, gradient=gradient, seed=seed, frames=True)
        for mine, theirs in zip(alone, parts, strict=True):
            torch.testing.assert_close(theirs.frames, mine.frames, rtol=1e-3, atol=1e-4)
            assert theirs.total == pytest.approx(mine.total, rel=1e-3)
            assert theirs.p_yes == pytest.approx(mine.p_yes, rel=1e-3)
            if gradient:
                cosine = torch.cosine_similarity(theirs.gradient, mine.gradient, dim=0)
                assert cosine > 0.999
        assert shared.meter.spent()["denoiser_forwards"] == one.meter.spent()["denoiser_forwards"]
        assert shared.meter.spent()["denoiser_backwards"] == one.meter.spent()["denoiser_backwards"]
    after = [editor.forwards for editor in shared.editor._editors]
    assert [now - then for now, then in zip(after, before, strict=True)] == [2 * 2 * 2, 1 * 2 * 2]


def test_a_search_of_batches_runs_on_several(tmp_path: Any) -> None:
    settings = SHARED | {"solver": {"name": "cma"}, "budget": "qwen_calls=5"}
    result = edit(settings, tmp_path / "run", pictures=False)
    assert result.spent["qwen_calls"] == 5


def test_devices_are_named_or_counted() -> None:
    assert devices_of(None) == []
    assert devices_of(["cpu"]) == []
    assert devices_of(["cpu", "cpu"]) == ["cpu", "cpu"]
    assert len(devices_of("auto")) in (0, torch.cuda.device_count())
    with pytest.raises(SparksError, match="device 'cuda:9' cannot be used"):
        check_settings({"editor": {"devices": ["cpu", "cuda:9"]}})
    with pytest.raises(SparksError, match="is not the first of"):
        check_settings({"device": "cpu", "editor": {"devices": "auto"}})
