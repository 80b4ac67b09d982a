"""Memory and seconds of gathering attention, on random weights of any size.

    python benchmarks/attention_memory.py --size ltx-2.3 --device cuda
    python benchmarks/attention_memory.py --size tiny

One clip is rendered at full guidance without and with `sparks.editors.attention`; the frames must
be the same, bit for bit. Beside what was taken stands what all maps would take if they were kept.
Texts are random contexts of the published length: the encoder is not loaded.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from models import SIZES, RandomModel, clip

from sparks.editors.attention import Gathering, gathering
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2 import LTX2Editor
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
        result = measure(options.size, device, options.steps, options.output)
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
