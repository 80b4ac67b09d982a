"""Memory and seconds of gathering attention, on random weights of any size.

    python benchmarks/attention_memory.py --size ltx-2.3 --device cuda
    python benchmarks/attention_memory.py --size ltx-2.3 --device meta
    python benchmarks/attention_memory.py --size tiny

On the device `meta`, which takes no memory, one call of the denoiser is followed: the most bytes
that its tensors hold at once, weights left out. Elsewhere one clip is rendered at full guidance
without and with `sparks.editors.attention`; the frames must be the same, bit for bit. Beside what
was taken stands what all maps would take if they were kept. Texts are random contexts of the
published length: the encoder is not loaded.
"""

from __future__ import annotations

import argparse
import json
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from models import SIZES, RandomModel, clip
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparks.editors.attention import AXES, Gathering, gathering, watched
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2 import LTX2Editor
from sparks.editors.masking import audio_latent_frames
from sparks.insight.heat import Heat, save_heat
from sparks.models.machine import device_name
from sparks.models.memory import peak_memory
from sparks.models.quiet import quiet_libraries

GIB, MIB = 2**30, 2**20
PROMPT = "a red ball jumps and then spins"


def measure(name: str, device: torch.device, steps: int, output: Path | None) -> dict[str, Any]:
    """Render twice; everything that was measured."""
    size = SIZES[name]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    editor = LTX2Editor(RandomModel(size), device, dtype, levers=LTX2Levers().closed)
    width = size.components["transformer"].config
    for prompt in (PROMPT, ""):
        shapes = (width["cross_attention_dim"], width["audio_cross_attention_dim"])
        editor.texts._known[prompt] = tuple(
            torch.randn(1, size.text_length, each, device=device, dtype=dtype) for each in shapes
        )
    conditioning = editor.prepare(clip(size), PROMPT, prefix_frames=5, seed=0)
    words, start = editor.texts.words(PROMPT), editor.start(conditioning)
    each = ModalityGuidance(guidance_scale=3.0, stg_scale=1.0, modality_scale=3.0, rescale=0.7)
    last = len(editor.transformer.transformer_blocks) - 1
    given: dict[str, Any] = {
        "sampling": replace(size.sampling, num_inference_steps=steps),
        "guidance": Guidance(each, each, stg_blocks=(min(28, last),)),
    }
    editor.render(conditioning, start, **given)  # libraries make their choices
    result: dict[str, Any] = {"size": name, "device": device_name(device), "steps": steps}
    plain, result["plain_seconds"], result["plain_peak"] = _taking(
        device, lambda: editor.render(conditioning, start, **given)
    )
    with gathering(editor, [positions for _, positions in words]) as gathered:
        looked, result["seconds"], result["peak"] = _taking(
            device, lambda: editor.render(conditioning, start, **given)
        )
    heat = Heat.of(gathered, [w for w, _ in words], conditioning.latent_shape, size.frames)
    if output is not None:
        save_heat(output, heat)
    return result | {
        "same": bool(torch.equal(plain, looked)),
        "latent": conditioning.latent_shape,
        "kept": sum(value.nbytes for value in heat.maps.values()),
        "whole": _whole(gathered, conditioning, width["num_attention_heads"], size.text_length),
        "maps": {key: list(value.shape) for key, value in heat.maps.items()},
    }


def follow(name: str) -> dict[str, Any]:
    """One call of the denoiser on the device `meta`, without gathering and with it."""
    size, meta = SIZES[name], torch.device("meta")
    transformer = size.components["transformer"].build(meta, torch.bfloat16).eval()
    config = transformer.config
    scale = config.vae_scale_factors
    latent = ((size.frames - 1) // scale[0] + 1, size.height // scale[1], size.width // scale[2])
    places, moments = latent[0] * latent[1] * latent[2], audio_latent_frames(size.frames, 25.0)

    def tokens(count: int, width: int) -> torch.Tensor:
        return torch.empty(1, count, width, device=meta, dtype=torch.bfloat16)

    arguments = {
        "hidden_states": tokens(places, config.in_channels),
        "audio_hidden_states": tokens(moments, config.audio_in_channels),
        "encoder_hidden_states": tokens(size.text_length, config.cross_attention_dim),
        "audio_encoder_hidden_states": tokens(size.text_length, config.audio_cross_attention_dim),
        "timestep": torch.empty(1, places, device=meta),
        "audio_timestep": torch.empty(1, moments, device=meta),
        "sigma": torch.empty(1, device=meta),
        "audio_sigma": torch.empty(1, device=meta),
        **dict(zip(("num_frames", "height", "width"), latent, strict=True)),
        "fps": 25.0,
        "audio_num_frames": moments,
        "use_cross_timestep": True,
    }
    with torch.no_grad():
        with Held(transformer) as plain:
            transformer(**arguments)
        gathered = EveryCall([[1], [2], [3]])
        with watched(transformer, gathered), Held(transformer) as looked:
            transformer(**arguments)
    calls = config.num_layers * config.num_attention_heads
    kept = [each.along(axis).nbytes for each in gathered.means.values() for axis in AXES]
    return {
        "size": name,
        "latent": latent,
        "plain_peak": plain.most,
        "peak": looked.most,
        "kept": sum(kept) + gathered.words.nbytes + gathered.moments.nbytes,
        "whole": 4 * calls * places * (size.text_length + 2 * moments),
    }


class EveryCall(Gathering):
    """Every call counts, whatever its noise level: on `meta` there are no values."""

    def begin(self, arguments: Any) -> None:
        """The denoiser is called."""
        self._active, self._step = True, self._step + 1


class Held(TorchDispatchMode):
    """Counts bytes of tensors that operations inside make, as long as those live.

    Attributes:
        most: at once.

    Args:
        network: whose own weights, and views of them, do not count.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = {each.untyped_storage()._cdata for each in network.state_dict().values()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let it compute, and count what it has made."""
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor):
                self._count(each.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def followed(result: dict[str, Any]) -> str:
    """As Markdown."""
    return "\n".join(
        [
            f"one call of {result['size']} on meta, latent {'x'.join(map(str, result['latent']))}",
            "",
            "| held at most, weights left out | MiB |",
            "| --- | ---: |",
            f"| plain | {result['plain_peak'] / MIB:.0f} |",
            f"| with attention gathered | {result['peak'] / MIB:.0f} |",
            f"| of that maps, which stay | {result['kept'] / MIB:.1f} |",
            f"| all maps of the call, if they were kept | {result['whole'] / MIB:.0f} |",
        ]
    )


def _taking(device: torch.device, work: Any) -> tuple[Any, float, int]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    made = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return made, time.perf_counter() - start, peak_memory(device)


def _whole(gathered: Gathering, conditioning: Any, heads: int, text: int) -> int:
    """Bytes of every probability of the three attentions, in float32."""
    places, moments = conditioning.video_latent.shape[1], conditioning.alpha_0.shape[2]
    calls = len(gathered.means["text"].sums["block"]) * len(gathered.means["text"].sums["step"])
    return 4 * calls * heads * places * (text + 2 * moments)


def table(result: dict[str, Any]) -> str:
    """As Markdown."""
    rows = [
        ("plain render", result["plain_seconds"], result["plain_peak"]),
        ("with attention gathered", result["seconds"], result["peak"]),
    ]
    lines = [
        f"{result['size']} on {result['device']}, {result['steps']} steps, latent "
        f"{'x'.join(map(str, result['latent']))}; frames "
        f"{'the same' if result['same'] else 'NOT the same'}",
        "",
        "| | s | peak GiB |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {seconds:.1f} | {peak / GIB:.2f} |" for name, seconds, peak in rows),
        "",
        f"maps kept: {result['kept'] / MIB:.1f} MiB; all maps would be "
        f"{result['whole'] / GIB:.1f} GiB",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--output", type=Path, help="safetensors for the maps")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with quiet_libraries():
        device = torch.device(options.device)
        if device.type == "meta":
            result, say = follow(options.size), followed
        else:
            result, say = measure(options.size, device, options.steps, options.output), table
    print(json.dumps(result) if options.json else say(result))


if __name__ == "__main__":
    main()
