"""Levers change how an edit is computed, not what."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparks.editors import LTX2Editor, Sampling
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.editors.decoding import TILE_FRAMES, decode
from sparks.editors.levers import PLAIN, LTX2Levers
from sparks.editors.ltx2_denoiser import sample
from sparks.editors.ltx2_runner import LTX2Runner
from sparks.errors import SparksError
from sparks.media.clip import Clip
from tests.editors import golden
from tests.editors.conftest import make_clip

SAMPLING = Sampling(num_inference_steps=4, grad_steps=2, checkpointing=True)
EXACT = {
    "default": LTX2Levers(),
    "two_valued": replace(PLAIN, two_valued=True),
    "cached_positions": replace(PLAIN, cached_positions=True),
    "keep_blocks": LTX2Levers(keep_blocks=1, decoder_checkpointing=False),
    "recompute": LTX2Levers(keep_blocks=0, decoder_checkpointing=True),
    "attention": LTX2Levers(attention="native"),
    "channels_last": LTX2Levers(channels_last=True),
    "compile": LTX2Levers(compile=True, compile_backend="eager", keep_blocks=1),
    "compile and recompute": LTX2Levers(compile=True, compile_backend="aot_eager", keep_blocks=0),
    "joined_projections": LTX2Levers(joined_projections=True),
    "compile_decoder": LTX2Levers(compile_decoder=True, compile_backend="eager"),
}


def gradient(editor: LTX2Editor, conditioning: Conditioning) -> Tensor:
    start = editor.start(conditioning)
    generator = torch.Generator().manual_seed(0)
    controls = Controls(
        start.alpha.requires_grad_(),
        (0.3 * torch.randn(start.delta_v.shape, generator=generator))
        .to(editor.device)
        .requires_grad_(),
    )
    frames = editor.render(conditioning, controls, sampling=SAMPLING, gradient=True)
    weights = torch.linspace(-1, 1, frames.numel(), device=frames.device).reshape(frames.shape)
    parts = torch.autograd.grad((frames * weights).sum(), (controls.alpha, controls.delta_v))
    return torch.cat([part.flatten() for part in parts])


def conditions(editor: LTX2Editor, clip: Clip) -> Conditioning:
    return editor.prepare(clip, "a red ball jumps", prefix_frames=5, seed=3)


@pytest.fixture(scope="module")
def plain(model_folder: Path, clip: Clip) -> Tensor:
    editor = LTX2Editor(model_folder, "cpu", levers=PLAIN)
    return gradient(editor, conditions(editor, clip))


@pytest.mark.parametrize("levers", EXACT.values(), ids=EXACT.keys())
def test_gradients_are_equal(
    model_folder: Path, clip: Clip, plain: Tensor, levers: LTX2Levers
) -> None:
    editor = LTX2Editor(model_folder, "cpu", levers=levers)
    conditioning = conditions(editor, clip)
    found = gradient(editor, conditioning)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-5 * float(plain.abs().max()))
    again = gradient(editor, conditioning)
    assert torch.equal(again, found)


@pytest.mark.parametrize("name", ["default", "recompute"])
def test_gradients_agree_in_bfloat16(model_folder: Path, clip: Clip, name: str) -> None:
    def found(levers: LTX2Levers) -> Tensor:
        editor = LTX2Editor(model_folder, "cpu", torch.bfloat16, levers=levers)
        return gradient(editor, conditions(editor, clip))

    angle = torch.nn.functional.cosine_similarity(found(PLAIN), found(EXACT[name]), dim=0)
    assert angle > 0.999


@pytest.mark.parametrize("region", [{"prefix_frames": 0}, {"window": (0.5, 0.9)}])
def test_any_region_is_modulated_right(model_folder: Path, clip: Clip, region: dict) -> None:
    renders = []
    for levers in (PLAIN, LTX2Levers()):
        editor = LTX2Editor(model_folder, "cpu", levers=levers)
        conditioning = editor.prepare(clip, "a red ball jumps", seed=3, **region)
        start = editor.start(conditioning)
        renders.append(editor.render(conditioning, start, sampling=SAMPLING))
    torch.testing.assert_close(*renders, atol=1e-5, rtol=0)


def test_a_mask_in_between_does_not_disturb_the_backward_pass(
    model_folder: Path, clip: Clip
) -> None:
    editor = LTX2Editor(model_folder, "cpu", levers=EXACT["recompute"])
    conditioning = conditions(editor, clip)
    other = editor.prepare(clip, "a red ball jumps", prefix_frames=9, seed=3)
    start = editor.start(conditioning)
    gradients = []
    for interrupted in (False, True):
        alpha = start.alpha.clone().requires_grad_()
        controls = Controls(alpha, start.delta_v)
        frames = editor.render(conditioning, controls, sampling=SAMPLING, gradient=True)
        if interrupted:
            editor.render(other, start, sampling=replace(SAMPLING, num_inference_steps=1))
        gradients += torch.autograd.grad(frames.square().sum(), alpha)
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    "case", golden.cases("retake_cases.json"), ids=lambda case: str(case["name"])
)
def test_golden_renders_are_the_same(case: dict) -> None:
    conditioning = golden.conditioning_of(case)
    start = golden.start_of(conditioning)
    options = {"sampling": golden.sampling_of(case), "guidance": golden.guidance_of(case)}
    transformer = golden.tiny_transformer()
    expected = sample(transformer, conditioning, start, **options)
    runner = LTX2Runner(deepcopy(transformer), LTX2Levers())
    for found, wanted in zip(sample(runner, conditioning, start, **options), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_tiles_cover_the_clip(model_folder: Path) -> None:
    editor = LTX2Editor(model_folder, "cpu")
    frames = 2 * TILE_FRAMES + 1
    latent = torch.randn(1, 6, (frames - 1) // 4 + 1, 2, 2, generator=torch.Generator())
    whole = decode(editor.vae, latent, LTX2Levers())
    tiled = decode(editor.vae, latent, LTX2Levers(tiled_decode=True))
    assert tiled.shape == whole.shape == (1, 3, frames, 16, 16)
    # Away from the seams, a tile is what the whole is.
    torch.testing.assert_close(tiled[:, :, :20], whole[:, :, :20], atol=1e-4, rtol=0)
    assert not torch.allclose(tiled, whole, atol=1e-4)


def test_steps_without_gradient_are_reused(model_folder: Path, clip: Clip) -> None:
    editor = LTX2Editor(model_folder, "cpu")
    conditioning = conditions(editor, clip)
    start = editor.start(conditioning)
    moved = Controls(start.alpha + 0.1, start.delta_v)
    reusing = replace(SAMPLING, refresh_prefix=2)

    def render(controls: Controls, sampling: Sampling) -> tuple[Tensor, int]:
        before = editor.forwards
        frames = editor.render(conditioning, controls, sampling=sampling, gradient=True)
        return frames.detach(), editor.forwards - before

    exact = [render(controls, SAMPLING)[0] for controls in (start, moved)]
    first, second, third = (render(controls, reusing) for controls in (start, moved, moved))
    assert (first[1], second[1], third[1]) == (4, 2, 4)
    assert torch.equal(first[0], exact[0])
    assert torch.equal(third[0], exact[1])
    assert not torch.equal(second[0], exact[1])
    assert not torch.equal(second[0], exact[0])  # alpha enters the later steps anew
    other = conditioning.with_noise(4)
    before = editor.forwards
    editor.render(other, moved, sampling=reusing, gradient=True)
    assert editor.forwards - before == 4


def test_positions_are_remembered(model_folder: Path) -> None:
    editor = LTX2Editor(model_folder, "cpu")
    arguments = (1, (5, 2, 2), 34, 12.5, "float32")
    first = editor.runner.positions(*arguments)
    assert editor.runner.positions(*arguments) is first
    embedding = editor.transformer.rope(first["video_coords"], device="cpu")
    assert editor.transformer.rope(first["video_coords"], device="cpu") is embedding
    for fps in range(1, 20):  # old shapes are forgotten
        editor.runner.positions(1, (5, 2, 2), 34, float(fps), "float32")
    assert editor.runner.positions(*arguments) is not first


def test_a_runner_undoes_what_an_earlier_one_did(model_folder: Path, clip: Clip) -> None:
    editor = LTX2Editor(model_folder, "cpu", levers=PLAIN)
    conditioning = conditions(editor, clip)
    start = editor.start(conditioning)
    before = editor.render(conditioning, start, sampling=SAMPLING)
    levers = LTX2Levers(joined_projections=True, attention="native", compile=True)
    LTX2Runner(editor.transformer, replace(levers, compile_backend="eager"))
    editor.runner = LTX2Runner(editor.transformer, PLAIN)
    assert torch.equal(editor.render(conditioning, start, sampling=SAMPLING), before)
    attn = editor.transformer.transformer_blocks[0].attn1
    assert (attn.processor, attn.processor._attention_backend) == (attn.stock_processor, None)
    assert attn.to_q.weight.data_ptr() == attn.joined_own.weight.data_ptr()  # held once


GUIDED = [case for case in golden.cases("retake_cases.json") if "guided" in str(case["name"])][:2]


@pytest.mark.parametrize("case", GUIDED, ids=lambda case: str(case["name"]))
def test_guided_renders_are_the_same_when_compiled(case: dict) -> None:
    conditioning = golden.conditioning_of(case)
    start = golden.start_of(conditioning)
    options = {"sampling": golden.sampling_of(case), "guidance": golden.guidance_of(case)}
    expected = sample(golden.tiny_transformer(), conditioning, start, **options)
    levers = LTX2Levers(compile=True, compile_backend="eager", joined_projections=True)
    runner = LTX2Runner(deepcopy(golden.tiny_transformer()), levers)
    for found, wanted in zip(sample(runner, conditioning, start, **options), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_without_a_gpu_nothing_is_chosen(model_folder: Path, clip: Clip) -> None:
    editor = LTX2Editor(model_folder, "cpu")
    conditioning = conditions(editor, clip)
    settled = editor.settle(conditioning, SAMPLING, {"compile": True, "attention": "_native_cudnn"})
    assert (settled["compile"], settled["attention"], settled["cuda_graphs"]) == (
        False,
        None,
        False,
    )
    assert editor.levers == LTX2Levers().closed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eight_bits": True, "joined_projections": False}, "eight_bits needs joined_projections"),
        ({"activation_budget": 0.5}, "needs compile=true"),
        ({"activation_budget": 1.5, "compile": True}, "activation_budget is 1.5"),
        ({"keep_blocks": -1}, "keep_blocks is -1"),
    ],
)
def test_wrong_levers(options: dict, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        LTX2Levers(**options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_gradients_through_cuda_graphs(model_folder: Path) -> None:
    gradients = []
    for graphs in (False, True):
        levers = LTX2Levers(compile=True, compile_backend="aot_eager", cuda_graphs=graphs)
        editor = LTX2Editor(
            model_folder, "cuda", torch.float32, levers=replace(levers, keep_blocks=0)
        )
        conditioning = conditions(editor, make_clip())
        gradients += [gradient(editor, conditioning) for _ in range(2)]
        other = editor.prepare(make_clip(), "a red ball jumps", prefix_frames=9, seed=3)
        gradients.append(gradient(editor, other))
    for plain, replayed in zip(gradients[:3], gradients[3:], strict=True):
        torch.testing.assert_close(replayed, plain, rtol=1e-3, atol=1e-5 * float(plain.abs().max()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_graphs(model_folder: Path) -> None:
    renders = []
    for levers in (LTX2Levers(), LTX2Levers(cuda_graphs=True)):
        editor = LTX2Editor(model_folder, "cuda", torch.float32, levers=levers)
        conditioning = conditions(editor, make_clip())
        start = editor.start(conditioning)
        for _ in range(2):
            renders.append(editor.render(conditioning, start, sampling=SAMPLING))
    for render in renders[1:]:
        torch.testing.assert_close(render, renders[0], atol=1e-5, rtol=0)
