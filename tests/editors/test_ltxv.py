"""LTX-Video: the second editor, and one without audio."""

import importlib.util
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.editors.controls import Controls, load_controls, save_controls
from sparks.editors.guidance import UNGUIDED, Guidance, ModalityGuidance
from sparks.editors.levers import Levers
from sparks.editors.ltx2 import LTX2Editor
from sparks.editors.ltxv import LTXVEditor
from sparks.editors.ltxv_denoiser import LTXVConditioning, LTXVDenoiser
from sparks.editors.sampler import denoise
from sparks.editors.schedule import Sampling
from sparks.errors import SparksError
from sparks.media.clip import Clip
from sparks.testing import check_editor
from tests.editors.conftest import make_clip
from tests.editors.conftest import write_model as write_ltx2_model
from tests.editors.ltxv_model import BLOCKS, TOKENS, WIDTH, write_ltxv_model

PROMPT, OTHER = "a red ball jumps", "a blue square"
SHORT = Sampling(num_inference_steps=4, grad_steps=2, schedule="linear_quadratic")
CFG = Guidance(video=ModalityGuidance(guidance_scale=3))
STG = Guidance(video=ModalityGuidance(3, 1, rescale=0.7), stg_blocks=(1,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ltxv_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def build(folder: Path) -> Any:
    return partial(LTXVEditor, folder, "cpu", text_tokens=TOKENS)


@pytest.fixture(scope="module")
def editor(build: Any) -> LTXVEditor:
    made: LTXVEditor = build()
    return made


@pytest.fixture(scope="module")
def conditioning(editor: LTXVEditor, clip: Clip) -> LTXVConditioning:
    return editor.prepare(clip, PROMPT, negative_prompt=OTHER, prefix_frames=5, seed=3)


def nudged(conditioning: LTXVConditioning, batch: int = 1) -> Controls:
    generator = torch.Generator().manual_seed(0)
    shape = (batch, *conditioning.v_p.shape[1:])
    return Controls(torch.zeros(batch, 0, 0, 0), torch.randn(shape, generator=generator))


def gradient(
    editor: LTXVEditor,
    conditioning: LTXVConditioning,
    sampling: Sampling = SHORT,
    guidance: Guidance = UNGUIDED,
) -> Tensor:
    """Of the frames with respect to delta_v."""
    residual = nudged(conditioning).delta_v.requires_grad_()
    controls = Controls(torch.zeros(1, 0, 0, 0), residual)
    frames = editor.render(
        conditioning, controls, sampling=sampling, guidance=guidance, gradient=True
    )
    frames.square().sum().backward()
    assert residual.grad is not None
    return residual.grad


@pytest.mark.parametrize("old", [False, True], ids=["0.9.5", "0.9.1"])
def test_the_contract_is_kept(old: bool, tmp_path: Path, clip: Clip) -> None:
    made = write_ltxv_model(tmp_path / "model", old=old)
    check_editor(LTXVEditor(made, "cpu", text_tokens=TOKENS), clip, PROMPT)


def test_prepare(editor: LTXVEditor, conditioning: LTXVConditioning) -> None:
    assert (editor.spatial_multiple, editor.temporal_compression) == (8, 4)
    assert conditioning.latent_shape == (5, 2, 2)
    assert (conditioning.prefix_latents, conditioning.prefix_frames_kept) == (2, 5)
    assert conditioning.video_mask[0, :, 0].tolist() == [0] * 8 + [1] * 12
    assert conditioning.v_p.shape == (1, TOKENS, WIDTH)
    assert conditioning.mask_p.tolist() == [[1] * 5 + [0] * 3]  # four words and an end
    assert conditioning.mask_n.tolist() == [[1] * 4 + [0] * 4]
    start = editor.start(conditioning)
    assert start.alpha.shape == (1, 0, 0, 0)
    assert not start.has_audio
    assert not start.delta_v.any()


def test_positions_are_causal_since_0_9_5(
    conditioning: LTXVConditioning, tmp_path: Path, clip: Clip
) -> None:
    old = LTXVEditor(write_ltxv_model(tmp_path / "model", old=True), "cpu", text_tokens=TOKENS)
    before = old.prepare(clip, PROMPT, prefix_frames=5)
    seconds = [1 / 12.5 * frame for frame in (0, 1, 5, 9, 13)]
    assert conditioning.coords[0, 0, ::4].tolist() == pytest.approx(seconds)
    seconds = [1 / 12.5 * frame for frame in (0, 4, 8, 12, 16)]
    assert before.coords[0, 0, ::4].tolist() == pytest.approx(seconds)


def test_kept_frames_are_kept(editor: LTXVEditor, conditioning: LTXVConditioning) -> None:
    with torch.no_grad():
        of = (conditioning, nudged(conditioning), SHORT, CFG)
        (tokens,) = denoise(LTXVDenoiser(editor.transformer, *of))
    clean = conditioning.video_latent
    assert torch.equal(tokens[:, :8], clean[:, :8])
    assert ((tokens - clean)[:, 8:].abs().amax(2) > 1e-3).all()


def test_a_window_is_regenerated(editor: LTXVEditor, clip: Clip) -> None:
    given = editor.prepare(clip, PROMPT, window=(0.5, 0.9))
    assert given.video_mask[0, ::4, 0].tolist() == [0, 0, 1, 1, 0]
    with pytest.raises(SparksError, match="one of prefix_frames and window"):
        editor.prepare(clip, PROMPT, prefix_frames=5, window=(0.5, 0.9))


def test_the_gradient_is_of_what_the_prompt_says(
    editor: LTXVEditor, conditioning: LTXVConditioning
) -> None:
    slope = gradient(editor, conditioning)
    assert (slope[0, :5].abs().amax(1) > 0).all()
    assert not slope[0, 5:].any()  # padding is masked


def test_the_gradient_is_right(editor: LTXVEditor, conditioning: LTXVConditioning) -> None:
    every = replace(SHORT, num_inference_steps=2, grad_steps=2)
    step = torch.zeros_like(conditioning.v_p)
    step[0, 2] = 1e-2 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    middle = nudged(conditioning)

    def energy(sign: float) -> float:
        moved = Controls(middle.alpha, middle.delta_v + sign * step)
        frames = editor.render(conditioning, moved, sampling=every)
        return float(frames.double().square().sum())

    slope = float((gradient(editor, conditioning, every) * step).sum())
    assert slope == pytest.approx((energy(1) - energy(-1)) / 2, rel=0.02)


def test_earlier_steps_carry_no_gradient(
    editor: LTXVEditor, conditioning: LTXVConditioning
) -> None:
    before = editor.backwards
    one = gradient(editor, conditioning, replace(SHORT, grad_steps=1))
    assert editor.backwards == before + 1
    two = gradient(editor, conditioning, SHORT)
    assert editor.backwards == before + 3
    assert not torch.allclose(one, two)


def test_guidance_is_counted_and_counts(editor: LTXVEditor, conditioning: LTXVConditioning) -> None:
    start, before = editor.start(conditioning), editor.forwards
    plain = editor.render(conditioning, start, sampling=SHORT)
    guided = editor.render(conditioning, start, sampling=SHORT, guidance=CFG)
    perturbed = editor.render(conditioning, start, sampling=SHORT, guidance=STG)
    assert editor.forwards == before + 4 + 8 + 12
    assert not torch.allclose(plain, guided, atol=1e-3)
    assert not torch.allclose(guided, perturbed, atol=1e-3)
    other = editor.prepare(make_clip(), PROMPT, negative_prompt=PROMPT, prefix_frames=5, seed=3)
    assert torch.allclose(
        editor.render(other, start, sampling=SHORT, guidance=CFG), plain, atol=1e-5
    )


def test_strengths_of_audio_do_nothing(editor: LTXVEditor, conditioning: LTXVConditioning) -> None:
    start, before = editor.start(conditioning), editor.forwards
    loud = Guidance(ModalityGuidance(modality_scale=3), ModalityGuidance(7, modality_scale=3))
    frames = editor.render(conditioning, start, sampling=SHORT, guidance=loud)
    assert editor.forwards == before + 4
    assert torch.equal(frames, editor.render(conditioning, start, sampling=SHORT))


def test_blocks_that_are_not_there_are_refused(
    editor: LTXVEditor, conditioning: LTXVConditioning
) -> None:
    missing = replace(STG, stg_blocks=(BLOCKS,))
    with pytest.raises(SparksError, match=f"stg_blocks has {BLOCKS}"):
        editor.render(conditioning, editor.start(conditioning), sampling=SHORT, guidance=missing)


@pytest.mark.parametrize(
    "options",
    [
        {"levers": Levers(keep_blocks=0, decoder_checkpointing=True)},
        {"levers": Levers(keep_blocks=1)},
        {"levers": Levers(attention="native")},
        {"levers": Levers(channels_last=True)},
        {"levers": Levers(compile=True, compile_backend="eager", compile_decoder=True)},
        {"storage": "offload"},
        {"text_device": "cpu"},
    ],
    ids=lambda options: str(options)[:60],
)
@pytest.mark.parametrize("guidance", [CFG, STG], ids=["cfg", "stg"])
def test_memory_and_speed_change_nothing(
    build: Any, editor: LTXVEditor, clip: Clip, options: Any, guidance: Guidance
) -> None:
    other = build(**options)
    given = other.prepare(clip, PROMPT, negative_prompt=OTHER, prefix_frames=5, seed=3)
    checkpointed = replace(SHORT, checkpointing=True)
    slope = gradient(other, given, checkpointed, guidance)
    assert torch.allclose(slope, gradient(editor, given, SHORT, guidance), rtol=1e-3, atol=1e-4)


def test_weights_in_eight_bits_come_close(build: Any, clip: Clip, editor: LTXVEditor) -> None:
    small = build(storage="fp8")
    given = editor.prepare(clip, PROMPT, prefix_frames=5)
    angle = torch.nn.functional.cosine_similarity(
        gradient(small, given).flatten(), gradient(editor, given).flatten(), dim=0
    )
    assert 0.9 < angle < 0.999999


def test_half_precision_is_kept_inside(build: Any, clip: Clip, editor: LTXVEditor) -> None:
    half = build(dtype=torch.bfloat16)
    given = half.prepare(clip, PROMPT, negative_prompt=OTHER, prefix_frames=5, seed=3)
    assert given.v_p.dtype == given.noise_decoder.dtype == torch.bfloat16
    start = half.start(given)
    frames = half.render(given, start, sampling=SHORT, guidance=STG)
    assert start.delta_v.dtype == frames.dtype == torch.float32
    like = replace(editor.prepare(clip, PROMPT, negative_prompt=OTHER, prefix_frames=5), seed=3)
    like = replace(like, noise_video=given.noise_video, noise_decoder=given.noise_decoder)
    exact = editor.render(like, start, sampling=SHORT, guidance=STG)
    assert (frames - exact).abs().mean() < 0.02
    slope = gradient(half, given, replace(SHORT, checkpointing=True), STG)
    angle = torch.nn.functional.cosine_similarity(
        slope.flatten(), gradient(editor, like, SHORT, STG).flatten(), dim=0
    )
    assert angle > 0.9


@pytest.mark.parametrize("saving", ["refresh_blocks", "refresh_prefix", "stop_early"])
def test_a_search_may_do_less(
    editor: LTXVEditor, conditioning: LTXVConditioning, saving: str
) -> None:
    exact = gradient(editor, conditioning, SHORT, CFG)
    less = replace(SHORT, **{saving: 2})
    slopes = [gradient(editor, conditioning, less, CFG) for _ in range(2)]
    assert all(slope.isfinite().all() and slope.any() for slope in slopes)
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-4)
    if saving == "refresh_prefix":  # the controls have not moved
        assert torch.allclose(slopes[0], exact, rtol=1e-3, atol=1e-4)
    else:
        assert not torch.allclose(slopes[0], exact, rtol=1e-3, atol=1e-4)
    start = editor.start(conditioning)
    frames = editor.render(conditioning, start, sampling=less)
    assert torch.equal(frames, editor.render(conditioning, start, sampling=SHORT))


def test_blocks_reused_still_count(editor: LTXVEditor, conditioning: LTXVConditioning) -> None:
    before = editor.forwards
    gradient(editor, conditioning, replace(SHORT, refresh_blocks=2))
    assert editor.forwards == before + 4
    assert len(editor.transformer.transformer_blocks) == BLOCKS


def test_shifted_depends_on_the_size(editor: LTXVEditor) -> None:
    shifted = replace(SHORT, schedule="shifted")
    assert (
        shifted.levels(20)[1] < shifted.levels(4096)[1] == replace(SHORT, schedule="ltx2").sigmas[1]
    )
    small = editor.prepare(make_clip(), PROMPT, prefix_frames=5)
    start = editor.start(small)
    frames = editor.render(small, start, sampling=shifted)
    as_large = editor.render(small, start, sampling=replace(SHORT, schedule="ltx2"))
    assert not torch.allclose(frames, as_large, atol=1e-3)


def test_noise_of_the_decoder_leaves_other_noise_alone(tmp_path: Path, clip: Clip) -> None:
    old = LTXVEditor(write_ltxv_model(tmp_path / "model", old=True), "cpu", text_tokens=TOKENS)
    given = old.prepare(clip, PROMPT, prefix_frames=5)
    old.render(given, old.start(given), sampling=SHORT)  # loads
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    old.render(given, old.start(given), sampling=SHORT)
    assert torch.equal(torch.rand(3), wanted)


def test_the_decoder_is_told_its_noise_level(build: Any, clip: Clip, editor: LTXVEditor) -> None:
    given = editor.prepare(clip, PROMPT, prefix_frames=5)
    start = editor.start(given)
    frames = editor.render(given, start, sampling=SHORT)
    for option in ("decode_timestep", "decode_noise_scale"):
        other = build(**{option: 0.5})
        assert not torch.allclose(other.render(given, start, sampling=SHORT), frames, atol=1e-3)
        with pytest.raises(SparksError, match=f"{option} is 1"):
            build(**{option: 1.0})


def test_prompts_are_read_whole(editor: LTXVEditor, clip: Clip) -> None:
    with pytest.raises(SparksError, match="unknown 'zebra'; the model knows: ▁a"):
        editor.prepare(clip, "a red zebra", prefix_frames=5)
    with pytest.raises(SparksError, match="has 9 tokens; the model reads 8"):
        editor.prepare(clip, "a " * 8, prefix_frames=5)


def test_the_length_of_prompts_is_chosen(folder: Path, clip: Clip) -> None:
    longer = LTXVEditor(folder, "cpu", text_tokens=12)
    assert longer.prepare(clip, "a " * 11, prefix_frames=5).v_p.shape == (1, 12, WIDTH)
    with pytest.raises(SparksError, match="text_tokens is 0"):
        LTXVEditor(folder, "cpu", text_tokens=0)


def test_a_model_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="has a LTX2VideoTransformer3DModel, and this editor"):
        LTXVEditor(write_ltx2_model(tmp_path / "other"), "cpu")
    with pytest.raises(SparksError, match="has a LTXVideoTransformer3DModel, and this editor"):
        LTX2Editor(folder, "cpu")


def test_a_sentencepiece_tokenizer_names_the_package(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (copy / "tokenizer" / "tokenizer.json").rename(copy / "tokenizer" / "spiece.model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SparksError, match=r"needs the package sentencepiece; pip install"):
        LTXVEditor(copy, "cpu")


def test_there_is_no_audio(editor: LTXVEditor, clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="no audio to synthesise"):
        editor.synthesise_audio(clip, PROMPT, sampling=SHORT)
    with pytest.raises(SparksError, match="no audio to decode"):
        editor.decode_audio(torch.zeros(1, 0, 0, 0))


def test_empty_controls_are_saved_and_read(conditioning: LTXVConditioning, tmp_path: Path) -> None:
    controls = nudged(conditioning)
    save_controls(tmp_path / "best.safetensors", controls, {})
    again = load_controls(tmp_path / "best.safetensors")
    assert again.alpha.shape == (1, 0, 0, 0)
    assert torch.equal(again.delta_v, controls.delta_v)


def test_controls_of_another_length_are_refused(
    editor: LTXVEditor, conditioning: LTXVConditioning
) -> None:
    longer = Controls(torch.zeros(1, 0, 0, 0), torch.zeros(1, TOKENS + 1, WIDTH))
    heard = Controls(torch.zeros(1, 2, 3, 4), torch.zeros(1, TOKENS, WIDTH))
    with pytest.raises(SparksError, match="delta_v has shape"):
        editor.render(conditioning, longer, sampling=SHORT)
    with pytest.raises(SparksError, match=r"alpha has shape \[2, 3, 4\]"):
        editor.render(conditioning, heard, sampling=SHORT)
