"""What is exported for ComfyUI, read as its nodes read it.

The readers are written anew after the nodes' own code, named at each: ComfyUI itself is no
dependency of a test.
"""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sparks.editors.conditioning import pack_audio
from sparks.editors.controls import Controls, load_controls
from sparks.editors.ltx2 import LTX2Editor
from sparks.editors.ltxv import LTXVEditor
from sparks.editors.schedule import Sampling
from sparks.errors import SparksError
from sparks.runs.sharing.comfy import save_wav, write_comfy
from tests.editors.conftest import make_clip, write_model
from tests.editors.ltxv_model import TOKENS, write_ltxv_model

PROMPT = "a red ball jumps"


def load_conditioning(path: Path) -> list[tuple[Tensor, dict[str, Any]]]:
    """LTXVLoadConditioning.execute: ComfyUI-LTXVideo, conditioning_loader.py, at ebf3121."""
    import safetensors

    conditioning = []
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        for key in sorted(k for k in file.keys() if k.startswith("conditioning_data_")):  # noqa: SIM118
            options = {}
            mask = f"attention_mask_{key.replace('conditioning_data_', '')}"
            if mask in file.keys():  # noqa: SIM118
                options["attention_mask"] = file.get_tensor(mask)
            conditioning.append((file.get_tensor(key), options))
    return conditioning


def contexts(context: Tensor, options: dict[str, Any], video: int, audio: int) -> list[Tensor]:
    """What the blocks of LTX-2.3 attend to: ComfyUI, comfy/ldm/lightricks/av_model.py, at 0a29dda.

    `preprocess_text_embeds` takes a context of this width for finished unless the option
    `unprocessed_ltxav_embeds` says otherwise; `_prepare_context` splits it along the width.
    """
    assert not options.get("unprocessed_ltxav_embeds", False)
    assert context.shape[-1] == video + audio
    return list(torch.split(context, [video, audio], context.ndim - 1))


def load_latent(path: Path) -> Tensor:
    """LoadLatent.load: ComfyUI, nodes.py."""
    latent = load_file(path, device="cpu")
    multiplier = 1.0 if "latent_format_version_0" in latent else 1.0 / 0.18215
    return latent["latent_tensor"].float() * multiplier


def denormalised(latent: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What the audio decoder is given: AudioLatentNormalizer.denormalize, ComfyUI,
    comfy/ldm/lightricks/vae/audio_vae.py at 52d3400; AudioPatchifier's order is `b t (c f)`.
    """
    batch, channels, time, bins = latent.shape
    patched = latent.permute(0, 2, 1, 3).reshape(batch, time, channels * bins)
    return (patched * std + mean).reshape(batch, time, channels, bins).permute(0, 2, 1, 3)


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> LTX2Editor:
    return LTX2Editor(write_model(tmp_path_factory.mktemp("tiny") / "model"), "cpu")


@pytest.fixture(scope="module")
def exported(
    editor: LTX2Editor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Controls, Any]:
    given = editor.prepare(make_clip(17), PROMPT, prefix_frames=5, seed=3)
    start = editor.start(given)
    generator = torch.Generator().manual_seed(0)
    tuned = Controls(
        *(value + torch.randn(value.shape, generator=generator) for value in vars(start).values())
    )
    folder = tmp_path_factory.mktemp("comfy")
    names = write_comfy(folder, editor, tuned, PROMPT, "blue")
    assert names == ["prompt.safetensors", "negative.safetensors", "sound.latent", "sound.wav"]
    return folder, tuned, given


def test_the_tuned_context_is_what_the_blocks_attend_to(
    exported: tuple[Path, Controls, Any],
) -> None:
    folder, tuned, given = exported
    ((context, options),) = load_conditioning(folder / "prompt.safetensors")
    video, audio = contexts(context, options, given.v_p.shape[-1], given.a_p.shape[-1])
    assert torch.equal(video, (given.v_p + tuned.delta_v).to(torch.bfloat16))
    assert torch.equal(audio, given.a_p.to(torch.bfloat16))


def test_a_negative_prompt_goes_with_it_untuned(
    editor: LTX2Editor, exported: tuple[Path, Controls, Any]
) -> None:
    ((context, _),) = load_conditioning(exported[0] / "negative.safetensors")
    assert torch.equal(context, torch.cat(editor.texts.encode("blue"), -1).to(torch.bfloat16))


def test_the_tuned_sound_is_what_the_decoder_is_given(
    editor: LTX2Editor, exported: tuple[Path, Controls, Any]
) -> None:
    folder, tuned, _ = exported
    latent = load_latent(folder / "sound.latent")
    assert torch.equal(latent, tuned.alpha)
    vae = editor.audio_vae
    ours = pack_audio(tuned.alpha) * vae.latents_std + vae.latents_mean
    theirs = denormalised(latent, vae.latents_mean, vae.latents_std)
    assert torch.allclose(pack_audio(theirs), ours)
    with wave.open(str(folder / "sound.wav")) as file:
        heard, rate = editor.decode_audio(tuned.alpha)
        assert (file.getframerate(), file.getnframes()) == (rate, heard.shape[1])
        assert file.getnchannels() == len(heard)


def test_what_is_read_back_renders_the_edit(
    editor: LTX2Editor, exported: tuple[Path, Controls, Any]
) -> None:
    from dataclasses import replace

    folder, tuned, given = exported
    ((context, options),) = load_conditioning(folder / "prompt.safetensors")
    video, audio = contexts(context, options, given.v_p.shape[-1], given.a_p.shape[-1])
    read = replace(given, v_p=video.float(), a_p=audio.float())
    again = Controls(load_latent(folder / "sound.latent"), torch.zeros_like(tuned.delta_v))

    def render(conditioning: Any, controls: Controls) -> Tensor:
        with torch.no_grad():
            sampling = Sampling(num_inference_steps=2, grad_steps=1)
            return editor.render(conditioning, controls, sampling=sampling)

    edit, untuned = render(given, tuned), render(given, editor.start(given))
    error = (render(read, again) - edit).abs().mean()  # of a context in bfloat16
    assert error < 0.02 * (untuned - edit).abs().mean()


def test_ltx_videos_context_goes_with_its_mask(tmp_path: Path) -> None:
    model = write_ltxv_model(tmp_path / "model")
    editor = LTXVEditor(model, "cpu", text_tokens=TOKENS)
    context, mask = editor.texts.encode(PROMPT)
    tuned = Controls(torch.zeros(1, 0, 0, 0), torch.randn(context.shape))
    names = write_comfy(tmp_path / "out", editor, tuned, PROMPT, "")
    assert names == ["prompt.safetensors", "negative.safetensors"]
    ((read, options),) = load_conditioning(tmp_path / "out" / "prompt.safetensors")
    assert torch.equal(read, (context + tuned.delta_v).to(torch.bfloat16))
    assert torch.equal(options["attention_mask"], mask)
    assert 0 < mask.sum() < mask.numel()


def test_a_waveform_keeps_its_values(tmp_path: Path) -> None:
    save_wav(tmp_path / "a.wav", torch.tensor([[0.0, 0.5, 2.0], [-1.0, 0.0, 0.25]]), 16000)
    with wave.open(str(tmp_path / "a.wav")) as file:
        samples = torch.frombuffer(bytearray(file.readframes(3)), dtype=torch.int16)
    assert samples.view(3, 2).T.tolist() == [[0, 16384, 32767], [-32767, 0, 8192]]


def test_controls_of_other_contexts_are_refused(editor: LTX2Editor, tmp_path: Path) -> None:
    other = Controls(torch.zeros(1, 2, 5, 16), torch.zeros(1, 3, 7))
    with pytest.raises(SparksError, match=r"delta_v has shape \[1, 3, 7\]"):
        write_comfy(tmp_path, editor, other, PROMPT, "")
    with pytest.raises(SparksError, match="no text context"):
        write_comfy(tmp_path, object(), other, PROMPT, "")
    assert not list(tmp_path.iterdir())


def test_exported_controls_of_a_run_are_the_runs(
    sparks: Callable[..., tuple[int, str, str]], workplace: Path, tmp_path: Path
) -> None:
    code, _, err = sparks(
        *("solve", "own.mp4", "--prompt", PROMPT, "--config", "settings.yaml"),
        *("--critic", "plugins.py:Redness", "--set", "solver.lr=1", "--output", "run"),
    )
    assert code == 0, err
    code, out, err = sparks("export", "run", "--format", "comfy", "--output", str(tmp_path / "out"))
    assert code == 0, err
    assert "sound.latent" in out
    tuned = load_controls(workplace / "run" / "best.safetensors")
    assert torch.equal(load_latent(tmp_path / "out" / "sound.latent"), tuned.alpha)
    code, _, err = sparks("export", "run", "--format", "pt")
    assert (code, "choose comfy, safetensors, card" in err) == (2, True)
    code, _, err = sparks("export", "run", "--format", "comfy", "--output", str(tmp_path / "out"))
    assert (code, "is not empty" in err) == (2, True)
