"""Tuned controls as files that ComfyUI's own nodes open.

prompt.safetensors    the tuned context, for LTXV Load Conditioning (ComfyUI-LTXVideo)
negative.safetensors  that of the negative prompt, likewise
sound.latent          the tuned sound, for Load Latent
sound.wav             the same as a waveform, for Load Audio
"""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.files import replacing


def write_comfy(
    folder: Path, editor: Any, controls: Controls, prompt: str, negative_prompt: str
) -> list[str]:
    """Write the files; their names.

    Args:
        folder: for them.
        editor: that the controls were tuned for, one that encodes prompts (`texts`).
        controls: `[1, ...]`.
        prompt, negative_prompt: of the edit.

    Raises:
        SparksError: the editor is of another kind, or the controls do not fit its contexts.
    """
    if not hasattr(editor, "texts"):
        raise SparksError(
            f"the editor {type(editor).__name__} has no text context that ComfyUI knows; "
            "use --format safetensors"
        )
    first, second = editor.texts.encode(prompt)
    if first.shape != controls.delta_v.shape:
        raise SparksError(
            f"delta_v has shape {list(controls.delta_v.shape)}, the context of {prompt!r} "
            f"{list(first.shape)}; give the model that the controls were made with"
        )
    tuned = first.float() + controls.delta_v.to(first.device)
    save_conditioning(folder / "prompt.safetensors", tuned, second, editor.has_audio)
    first, second = editor.texts.encode(negative_prompt)
    save_conditioning(folder / "negative.safetensors", first, second, editor.has_audio)
    names = ["prompt.safetensors", "negative.safetensors"]
    if controls.has_audio:
        save_latent(folder / "sound.latent", controls.alpha)
        save_wav(folder / "sound.wav", *editor.decode_audio(controls.alpha))
        names += ["sound.latent", "sound.wav"]
    return names


def save_conditioning(path: Path, video: Tensor, second: Tensor, audio: bool) -> None:
    """A context as LTXV Save Conditioning writes it, in bfloat16.

    LTX-2 takes one tensor, the video's context and behind it, along the width, the audio's, as
    they leave the connectors; ComfyUI takes a tensor of that width for finished unless an option
    says otherwise, and none is written. LTX-Video takes the context and its mask.

    Args:
        path: the file.
        video: `[1, L, Dv]`.
        second: the audio's context `[1, L, Da]`, or of a model without audio the mask `[1, L]`.
        audio: which of the two.
    """
    context = torch.cat([video, second.to(video)], dim=-1) if audio else video
    tensors = {"conditioning_data_0": context.to(torch.bfloat16)}
    tensors |= {} if audio else {"attention_mask_0": second}
    _save(path, tensors, {"num_conditionings": "1", "dtype": "bfloat16"})


def save_latent(path: Path, alpha: Tensor) -> None:
    """An audio latent `[1, C, T, M]`, normalised as both have it, as Save Latent writes it."""
    # Without the second entry it would be scaled as latents of Stable Diffusion 1 were.
    marker = {"latent_format_version_0": torch.tensor([])}
    _save(path, {"latent_tensor": alpha.float(), **marker}, {})


def save_wav(path: Path, waveform: Tensor, rate: int) -> None:
    """A waveform `[C, N]` in 16 bits."""
    samples = (waveform.clamp(-1, 1) * 32767).round().short().T.contiguous().cpu()
    with replacing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(len(waveform))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.numpy().astype("<i2").tobytes())


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save

    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(whole, {"made_by": "sparks", **metadata}))
