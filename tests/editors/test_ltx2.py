"""The editor end to end on a tiny model of the real classes."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparks.editors import Editor, Guidance, LTX2Editor, ModalityGuidance, Sampling
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2_denoiser import LTX2Denoiser, sample
from sparks.errors import SparksError
from sparks.media.clip import Clip
from tests.editors.conftest import TEXT_LENGTH, make_clip, write_model

PROMPT = "a red ball jumps"
SHORT = Sampling(num_inference_steps=4, grad_steps=2)
STRONG = ModalityGuidance(guidance_scale=3, stg_scale=1, modality_scale=2, rescale=0.7)
FULL = Guidance(video=STRONG, audio=STRONG, stg_blocks=(1,))


@pytest.fixture(scope="module")
def conditioning(editor: LTX2Editor, clip: Clip) -> Conditioning:
    return editor.prepare(clip, PROMPT, negative_prompt="still", prefix_frames=5, seed=3)


def nudged(editor: LTX2Editor, conditioning: Conditioning, batch: int, seed: int = 0) -> Controls:
    start, generator = editor.start(conditioning), torch.Generator().manual_seed(seed)
    alpha = start.alpha.expand(batch, -1, -1, -1)
    delta_v = start.delta_v.expand(batch, -1, -1)
    return Controls(
        alpha + 0.5 * torch.randn(alpha.shape, generator=generator),
        delta_v + 0.5 * torch.randn(delta_v.shape, generator=generator),
    )


def test_it_is_an_editor(editor: LTX2Editor) -> None:
    assert isinstance(editor, Editor)
    assert (editor.spatial_multiple, editor.temporal_compression) == (8, 4)


def test_prepare(editor: LTX2Editor, conditioning: Conditioning) -> None:
    assert conditioning.latent_shape == (5, 2, 2)
    assert conditioning.video_latent.shape == conditioning.noise_video.shape == (1, 20, 6)
    assert conditioning.video_mask[0, :, 0].tolist() == [0.0] * 8 + [1.0] * 12
    assert (conditioning.prefix_latents, conditioning.prefix_frames_kept) == (2, 5)
    assert conditioning.alpha_0.shape == (1, 2, 34, 16)
    assert conditioning.alpha_0.std() > 0
    assert not conditioning.audio_mask.any()
    assert conditioning.v_p.shape == conditioning.v_n.shape == (1, TEXT_LENGTH, 24)
    assert conditioning.a_p.shape == (1, TEXT_LENGTH, 16)
    assert not torch.equal(conditioning.v_p, conditioning.v_n)
    assert conditioning.duration == pytest.approx(17 / 12.5)
    start = editor.start(conditioning)
    assert torch.equal(start.alpha, conditioning.alpha_0)
    assert not start.delta_v.any()


def test_window_keeps_both_ends(editor: LTX2Editor, clip: Clip) -> None:
    conditioning = editor.prepare(clip, PROMPT, window=(0.5, 0.9))
    frames = conditioning.video_mask[0, ::4, 0].tolist()
    assert frames == [0, 0, 1, 1, 0]  # cells end after 1, 5, 9, 13 and 17 frames of 0.08 s
    assert conditioning.prefix_frames_kept == 5


def test_noise_follows_the_seed(editor: LTX2Editor, clip: Clip, conditioning: Conditioning) -> None:
    other = conditioning.with_noise(4)
    again = editor.prepare(clip, PROMPT, prefix_frames=5, seed=4)
    assert not torch.equal(other.noise_video, conditioning.noise_video)
    assert torch.equal(other.noise_video, again.noise_video)
    assert torch.equal(other.noise_audio, again.noise_audio)
    assert torch.equal(other.with_noise(3).noise_video, conditioning.noise_video)


def test_render(editor: LTX2Editor, conditioning: Conditioning) -> None:
    controls, before = nudged(editor, conditioning, 2), (editor.forwards, editor.backwards)
    frames = editor.render(conditioning, controls, sampling=SHORT)
    assert frames.shape == (2, 17, 3, 16, 16)
    assert frames.dtype == torch.float32
    assert 0 <= frames.min() < frames.max() <= 1
    assert not frames.requires_grad
    assert not torch.equal(frames[0], frames[1])
    assert (editor.forwards - before[0], editor.backwards - before[1]) == (8, 0)
    again = editor.render(conditioning, controls, sampling=SHORT)
    assert torch.equal(frames, again)


@pytest.mark.parametrize("guidance", [Guidance(), FULL], ids=["plain", "guided"])
def test_batch_equals_singles(
    editor: LTX2Editor, conditioning: Conditioning, guidance: Guidance
) -> None:
    controls = nudged(editor, conditioning, 3)
    together = editor.render(conditioning, controls, sampling=SHORT, guidance=guidance)
    for row in range(3):
        single = Controls(controls.alpha[row : row + 1], controls.delta_v[row : row + 1])
        alone = editor.render(conditioning, single, sampling=SHORT, guidance=guidance)
        torch.testing.assert_close(alone[0], together[row], atol=2e-5, rtol=0)


@pytest.mark.parametrize("guidance", [Guidance(), FULL], ids=["plain", "guided"])
def test_kept_latents_are_exact(
    editor: LTX2Editor, conditioning: Conditioning, guidance: Guidance
) -> None:
    controls = nudged(editor, conditioning, 2)
    video, _ = sample(editor.transformer, conditioning, controls, sampling=SHORT, guidance=guidance)
    kept = conditioning.video_mask[0, :, 0] == 0
    assert torch.equal(video[:, kept], conditioning.video_latent[:, kept].expand(2, -1, -1))
    assert not torch.equal(video[:, ~kept], conditioning.video_latent[:, ~kept].expand(2, -1, -1))


def test_frozen_audio_ends_as_alpha(editor: LTX2Editor, conditioning: Conditioning) -> None:
    controls = nudged(editor, conditioning, 2)
    _, audio = sample(editor.transformer, conditioning, controls, sampling=SHORT, guidance=FULL)
    assert torch.equal(audio, controls.alpha.transpose(1, 2).flatten(2))


def objective(frames: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, frames.numel()).view_as(frames)
    return (frames * weights).double().sum()


@pytest.mark.parametrize("guidance", [Guidance(), FULL], ids=["plain", "guided"])
@pytest.mark.parametrize("leaf", ["alpha", "delta_v"])
def test_render_gradient_is_the_finite_difference(
    editor: LTX2Editor, conditioning: Conditioning, guidance: Guidance, leaf: str
) -> None:
    sampling, start = replace(SHORT, grad_steps=4), nudged(editor, conditioning, 1)
    value = getattr(start, leaf).requires_grad_()
    frames = editor.render(conditioning, start, sampling=sampling, guidance=guidance, gradient=True)
    (gradient,) = torch.autograd.grad(objective(frames), value)
    step = 1e-2 * gradient / gradient.norm()
    ends = [
        editor.render(
            conditioning,
            replace(start, **{leaf: value.detach() + sign * step}),
            sampling=sampling,
            guidance=guidance,
        )
        for sign in (-1, 1)
    ]
    difference = (objective(ends[1]) - objective(ends[0])) / 2
    assert difference.item() == pytest.approx((gradient * step).sum().item(), rel=1e-2)


def controls_gradient(
    editor: LTX2Editor, conditioning: Conditioning, sampling: Sampling, guidance: Guidance
) -> tuple[Tensor, ...]:
    start = nudged(editor, conditioning, 2)
    point = (start.alpha.requires_grad_(), start.delta_v.requires_grad_())
    frames = editor.render(
        conditioning, Controls(*point), sampling=sampling, guidance=guidance, gradient=True
    )
    return torch.autograd.grad(objective(frames).float(), point)


def test_checkpointing_changes_nothing(editor: LTX2Editor, conditioning: Conditioning) -> None:
    mixed = replace(FULL, audio=replace(STRONG, stg_scale=0))
    editor = LTX2Editor(
        editor.folder, "cpu", levers=LTX2Levers(keep_blocks=0, decoder_checkpointing=True)
    )
    plain = controls_gradient(editor, conditioning, SHORT, mixed)
    saved = controls_gradient(editor, conditioning, replace(SHORT, checkpointing=True), mixed)
    controls_gradient(editor, conditioning, SHORT, mixed)
    assert not editor.transformer.is_gradient_checkpointing
    for one, other in zip(plain, saved, strict=True):
        torch.testing.assert_close(one, other)


def test_reference_gradient_of_alpha_comes_a_step_late(
    editor: LTX2Editor, conditioning: Conditioning
) -> None:
    sampling = Sampling(num_inference_steps=4, grad_steps=1, alpha_gradient="reference")
    start = nudged(editor, conditioning, 1)
    point = (start.alpha.requires_grad_(), start.delta_v.requires_grad_())
    frames = editor.render(conditioning, Controls(*point), sampling=sampling, gradient=True)
    alpha, delta_v = torch.autograd.grad(frames.sum(), point, allow_unused=True)
    assert alpha is None or not alpha.any()
    assert delta_v.any()


def test_backwards_count_the_differentiable_steps(
    editor: LTX2Editor, conditioning: Conditioning
) -> None:
    before = editor.forwards, editor.backwards
    controls_gradient(editor, conditioning, SHORT, Guidance())
    assert (editor.forwards - before[0], editor.backwards - before[1]) == (2 * 4, 2 * 2)


def test_stg_of_one_modality_differs(editor: LTX2Editor, conditioning: Conditioning) -> None:
    controls = editor.start(conditioning)
    only_stg = ModalityGuidance(stg_scale=2)
    renders = [
        editor.render(
            conditioning, controls, sampling=SHORT, guidance=Guidance(only_stg, audio, (0, 1))
        )
        for audio in (only_stg, ModalityGuidance())
    ]
    assert not torch.equal(*renders)


def test_constant_frozen_audio_stays_finite(editor: LTX2Editor, conditioning: Conditioning) -> None:
    silent = Controls(torch.zeros_like(conditioning.alpha_0), torch.zeros_like(conditioning.v_p))
    frames = editor.render(conditioning, silent, sampling=SHORT, guidance=FULL)
    assert frames.isfinite().all()


def test_idle_guidance_costs_nothing(editor: LTX2Editor, conditioning: Conditioning) -> None:
    guidance = Guidance(audio=ModalityGuidance(guidance_scale=7))  # the audio is frozen
    controls = editor.start(conditioning)
    assert LTX2Denoiser(editor.transformer, conditioning, controls, SHORT, guidance).passes == [
        "cond"
    ]


def test_silent_clip_gets_imagined_audio(editor: LTX2Editor) -> None:
    silent = make_clip(sound=False)
    conditioning = editor.prepare(silent, PROMPT, prefix_frames=5)
    assert conditioning.audio_mask.all()
    assert not conditioning.alpha_0.any()
    alpha = editor.synthesise_audio(silent, "a ball", sampling=SHORT, guidance=FULL, seed=1)
    assert alpha.shape == conditioning.alpha_0.shape
    assert alpha.std() > 0.1
    with_audio = conditioning.with_audio(alpha)
    assert not with_audio.audio_mask.any()
    assert torch.equal(editor.start(with_audio).alpha, alpha)


def test_mono_and_short_sound(editor: LTX2Editor, clip: Clip) -> None:
    assert clip.waveform is not None
    mono = replace(clip, waveform=clip.waveform[:1])
    short = replace(clip, waveform=clip.waveform[:, :8000])
    wanted = editor.prepare(clip, PROMPT, prefix_frames=1).alpha_0
    assert torch.allclose(editor.prepare(mono, PROMPT, prefix_frames=1).alpha_0, wanted)
    cut = editor.prepare(short, PROMPT, prefix_frames=1).alpha_0
    assert cut.shape == wanted.shape
    assert torch.allclose(cut[:, :, :10], wanted[:, :, :10])  # the encoder is causal


def test_other_rates_are_resampled(editor: LTX2Editor, clip: Clip) -> None:
    assert clip.waveform is not None
    slow = replace(clip, waveform=clip.waveform[:, ::2], sample_rate=8000)
    wanted = editor.prepare(clip, PROMPT, prefix_frames=1).alpha_0
    actual = editor.prepare(slow, PROMPT, prefix_frames=1).alpha_0
    assert actual.shape == wanted.shape


def test_decode_audio_by_griffin_lim(editor: LTX2Editor, conditioning: Conditioning) -> None:
    waveform, rate = editor.decode_audio(conditioning.alpha_0)
    assert rate == 16_000
    assert waveform.shape == (2, (4 * 34 - 4) * 160)


def test_decode_audio_by_vocoder(tmp_path: Path, clip: Clip) -> None:
    editor = LTX2Editor(write_model(tmp_path, vocoder=True), device="cpu")
    alpha = editor.prepare(clip, PROMPT, prefix_frames=1).alpha_0
    waveform, rate = editor.decode_audio(alpha)
    assert rate == 8000
    assert waveform.shape == (2, (4 * 34 - 3) * 80)


def test_text_encoder_can_go(model_folder: Path, clip: Clip) -> None:
    editor = LTX2Editor(model_folder, device="cpu")
    first = editor.prepare(clip, PROMPT, prefix_frames=1)
    editor.free_text_encoder()
    assert editor.texts._networks is None
    known = editor.prepare(clip, PROMPT, prefix_frames=1)
    assert editor.texts._networks is None
    assert torch.equal(first.v_p, known.v_p)
    editor.prepare(clip, "a blue ball", prefix_frames=1)
    assert editor.texts._networks is not None


def test_bfloat16(model_folder: Path, clip: Clip) -> None:
    editor = LTX2Editor(model_folder, device="cpu", dtype=torch.bfloat16)
    conditioning = editor.prepare(clip, PROMPT, prefix_frames=5)
    assert conditioning.noise_video.dtype == torch.bfloat16
    controls = editor.start(conditioning)
    assert controls.alpha.dtype == torch.float32
    video, _ = sample(editor.transformer, conditioning, controls, sampling=SHORT)
    assert torch.equal(video[:, :8], conditioning.video_latent[:, :8])
    assert editor.render(conditioning, controls, sampling=SHORT).dtype == torch.float32


def test_unknown_words_are_listed(editor: LTX2Editor, clip: Clip) -> None:
    with pytest.raises(SparksError, match=r"unknown 'Zebra'; the model knows: a, ball, blinks"):
        editor.prepare(clip, "a Zebra jumps", prefix_frames=1)


def test_long_prompts_are_refused(editor: LTX2Editor, clip: Clip) -> None:
    with pytest.raises(SparksError, match="has 13 tokens; the model reads 8"):
        editor.prepare(clip, "a red ball " * 4, prefix_frames=1)


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({"prefix_frames": 17}, "prefix_frames is 17; choose 0 to 16"),
        ({"prefix_frames": -1}, "prefix_frames is -1"),
        ({"window": (0.9, 0.5)}, "window 0.9:0.5 holds no frame"),
        ({"window": (9.0, 9.5)}, r"the clip lasts 1\.36 s"),
        ({}, "give one of prefix_frames and window"),
        ({"prefix_frames": 1, "window": (0.1, 0.2)}, "give one of"),
    ],
)
def test_wrong_regions(editor: LTX2Editor, clip: Clip, region: dict, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        editor.prepare(clip, PROMPT, **region)


def test_clips_that_do_not_fit(editor: LTX2Editor, clip: Clip) -> None:
    with pytest.raises(SparksError, match=r"16 frames, not 4k\+1; cut it to 13"):
        editor.prepare(replace(clip, frames=clip.frames[:16]), PROMPT, prefix_frames=1)
    with pytest.raises(SparksError, match="12x16; both must be multiples of 8"):
        editor.prepare(replace(clip, frames=clip.frames[..., :12]), PROMPT, prefix_frames=1)


def test_controls_of_another_clip(editor: LTX2Editor, conditioning: Conditioning) -> None:
    start = editor.start(conditioning)
    with pytest.raises(SparksError, match=r"alpha has shape \[2, 30, 16\]"):
        editor.render(conditioning, Controls(start.alpha[:, :, :30], start.delta_v), sampling=SHORT)


def test_missing_models(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(SparksError, match="no model at"):
        LTX2Editor(tmp_path / "nowhere")
    shutil.copytree(model_folder, tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "vae")
    with pytest.raises(SparksError, match="lacks vae"):
        LTX2Editor(tmp_path / "model")
    (tmp_path / "model" / "vae").mkdir()
    with pytest.raises(SparksError, match="cannot load vae"):
        LTX2Editor(tmp_path / "model")


def test_unknown_class_in_the_index(tmp_path: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "Imaginary3DModel"]
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(SparksError, match="names the class Imaginary3DModel"):
        LTX2Editor(tmp_path / "model")


def test_rational_fps_is_kept(editor: LTX2Editor) -> None:
    clip = replace(make_clip(), fps=Fraction(24000, 1001))
    conditioning = editor.prepare(clip, PROMPT, prefix_frames=1)
    assert conditioning.fps == pytest.approx(23.976024)
    assert conditioning.alpha_0.shape[2] == round(17 / conditioning.fps * 25)
