import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sparks.critics.preprocess import Preprocess
from sparks.errors import SparksError

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "qwen_preprocess.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_golden(case: dict) -> None:
    tensors = load_file(GOLDEN / "qwen_preprocess.safetensors")
    prefix, suffix = ("", "_videos") if case["kind"] == "video" else ("image", "")
    size = tuple(case["resize_to"]) if case["resize_to"] else None
    pixels, grid = Preprocess(size=size)(tensors[f"{case['name']}/frames"][None])
    expected = tensors[f"{case['name']}/pixel_values{suffix}"]
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)
    assert grid.tolist() == [case["grid_thw"]]
    assert tensors[f"{case['name']}/{prefix or 'video'}_grid_thw"].tolist() == grid.tolist()


@pytest.mark.parametrize("shape", [(5, 64, 96), (4, 50, 90)])
def test_equals_the_video_processor(shape: tuple[int, int, int]) -> None:
    processors = pytest.importorskip("transformers.models.qwen2_vl.video_processing_qwen2_vl")
    processor = processors.Qwen2VLVideoProcessor(
        patch_size=16, size={"shortest_edge": 32 * 32, "longest_edge": 512 * 512}
    )
    num_frames, height, width = shape
    video = torch.rand(num_frames, 3, height, width, generator=torch.Generator().manual_seed(3))
    expected = processor(videos=[video], do_rescale=False, return_tensors="pt")
    pixels, grid = Preprocess(patch_size=16)(video[None])
    torch.testing.assert_close(pixels, expected["pixel_values_videos"], atol=1e-5, rtol=0)
    assert torch.equal(grid, expected["video_grid_thw"])


def test_a_batch_is_its_videos_one_after_another() -> None:
    videos = torch.rand(3, 4, 3, 56, 56)
    pixels, grid = Preprocess()(videos)
    singles = [Preprocess()(video[None])[0] for video in videos]
    assert torch.equal(pixels, torch.cat(singles))
    assert grid.tolist() == [[2, 4, 4]] * 3


def test_odd_number_of_frames_repeats_the_last() -> None:
    video = torch.rand(1, 5, 3, 28, 28)
    even = torch.cat([video, video[:, -1:]], dim=1)
    assert torch.equal(Preprocess()(video)[0], Preprocess()(even)[0])


def test_gradient_of_the_resize() -> None:
    video = torch.rand(1, 2, 3, 40, 40, requires_grad=True)
    direction = torch.randn_like(video)
    preprocess = Preprocess(size=(28, 56))
    weights = torch.randn_like(preprocess(video)[0])
    (preprocess(video)[0] * weights).sum().backward()
    assert video.grad is not None
    moved = ((preprocess(video + direction)[0] - preprocess(video)[0]) * weights).sum()
    torch.testing.assert_close((video.grad * direction).sum(), moved.detach(), rtol=1e-3, atol=1e-2)


def test_legacy_norm_maps_to_plus_minus_one() -> None:
    white = torch.ones(1, 2, 3, 28, 28)
    assert Preprocess(norm="legacy")(white)[0].unique().tolist() == [1.0]
    assert Preprocess(norm="legacy")(0 * white)[0].unique().tolist() == [-1.0]


def test_size_none_rounds_to_whole_tokens() -> None:
    _, grid = Preprocess()(torch.rand(1, 2, 3, 320, 512))
    assert grid.tolist() == [[1, 22, 36]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (224, 225)}, "224x225.*28.*224x224"),
        ({"size": (0, 28)}, "0x28.*28x28"),
        ({"norm": "imagenet"}, "imagenet.*clip"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        Preprocess(**options)
