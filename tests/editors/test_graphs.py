"""Replayed steps: recorded as a graph of operations on the CPU, as a CUDA graph where there is one.

What a recording reads without its being an input stays in it as it was, in both.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from sparks.editors import LTX2Editor
from sparks.editors.conditioning import Conditioning, unpack_video
from sparks.editors.graphs import Replayed
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2_denoiser import sample
from sparks.editors.ltx2_runner import LTX2Runner
from sparks.editors.schedule import Sampling
from sparks.media.clip import Clip

ONCE = Sampling(num_inference_steps=1)
SAMPLING = Sampling(num_inference_steps=2, grad_steps=1)
REGIONS: list[dict[str, Any]] = [
    {"prefix_frames": 5},
    {"window": (0.4, 0.9)},
    {"prefix_frames": 0},
    {"prefix_frames": 9},
]


class Traced(Replayed):
    """Records by tracing, and counts how often."""

    recorded = 0

    def _record(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Any:
        self.recorded += 1
        names = list(tensors)

        def forward(*values: Tensor) -> Any:
            return self.forward(**dict(zip(names, values, strict=True)), **constants)

        graph = make_fx(forward)(*tensors.values())
        return Recording(graph)


class Recording:
    def __init__(self, graph: torch.fx.GraphModule) -> None:
        self.graph = graph

    def replay(self, tensors: Mapping[str, Tensor]) -> Any:
        return self.graph(*tensors.values())


def conditions(editor: LTX2Editor, clip: Clip) -> list[Conditioning]:
    return [editor.prepare(clip, "a red ball jumps", seed=3, **each) for each in REGIONS]


def video(runner: LTX2Runner, editor: LTX2Editor, conditioning: Conditioning) -> Tensor:
    start = editor.start(conditioning)
    with torch.no_grad():
        tokens, _ = sample(runner, conditioning, start, sampling=ONCE)
    return unpack_video(tokens, conditioning.latent_shape)


@pytest.mark.parametrize("two_valued", [True, False])
def test_a_recording_serves_every_region(editor: LTX2Editor, clip: Clip, two_valued: bool) -> None:
    transformer = deepcopy(editor.transformer)
    levers = LTX2Levers(two_valued=two_valued, cuda_graphs=True)
    runner = LTX2Runner(transformer, levers)
    runner._replayed = traced = Traced(runner._replayed.forward)
    for conditioning in conditions(editor, clip):
        expected = video(editor.runner, editor, conditioning)
        found = video(runner, editor, conditioning)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    # Where nothing is kept there is one noise level, and so another shape.
    assert traced.recorded == (3 if two_valued else 1)


def test_steps_with_gradient_find_the_rows_of_their_own_render(
    editor: LTX2Editor, clip: Clip
) -> None:
    runner = LTX2Runner(deepcopy(editor.transformer), LTX2Levers(cuda_graphs=True))
    runner._replayed = Traced(runner._replayed.forward)
    for conditioning in conditions(editor, clip)[:2]:
        start = editor.start(conditioning)
        options: Any = {"sampling": SAMPLING, "gradient": True}
        expected, _ = sample(editor.runner, conditioning, start, **options)
        found, _ = sample(runner, conditioning, start, **options)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("cached_positions", [True, False])
def test_cuda_graphs_serve_every_region(
    model_folder: Path, clip: Clip, cached_positions: bool
) -> None:
    fast = LTX2Levers(cuda_graphs=True, cached_positions=cached_positions)
    replaying = LTX2Editor(model_folder, "cuda", torch.float32, levers=fast)
    plain = LTX2Editor(model_folder, "cuda", torch.float32)
    for own, other in zip(conditions(replaying, clip), conditions(plain, clip), strict=True):
        for gradient in (False, True, False):
            options: Any = {"sampling": SAMPLING, "gradient": gradient}
            found = replaying.render(own, replaying.start(own), **options)
            expected = plain.render(other, plain.start(other), **options)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
