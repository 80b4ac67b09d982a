"""What an iteration costs when it is run the way the paper's code runs it.

Every cost makes a session pay for something; the mathematics stays that of the fast way, except
where a cost says otherwise. Each says where it was found: in the authors' code
(optimize_qwen_vl.py, multimodal_loop_qwen.py, qwen_loss.py), or in the release of LTX-2 that it
brings along (ltx_core and ltx_pipelines 1.0.0).
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import sparks.search.scoring
from sparks.editors.levers import LTX2Levers
from sparks.editors.ltx2 import LTX2Editor

Patch = Callable[[Any], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Cost:
    """Something the naive way pays for.

    Attributes:
        source: where it was found.
        levers: switches of the editor that bring it back.
        patch: changes a session inside a block to pay it; takes the session.
        exact: whether the result stays the same up to rounding.
    """

    source: str
    levers: Mapping[str, Any] | None = None
    patch: Patch | None = None
    exact: bool = True


def _before_each_evaluation(action: Callable[[Any], None]) -> Patch:
    def patch(session: Any) -> AbstractContextManager[Any]:
        evaluate = session.problem.evaluate

        def naive(*arguments: Any, **options: Any) -> Any:
            action(session)
            return evaluate(*arguments, **options)

        return mock.patch.object(session.problem, "evaluate", naive)

    return patch


def _rebuild(session: Any) -> None:
    """Make every network of the pipeline anew and let the old ones go."""
    editor: LTX2Editor = session.editor
    editor.transformer = editor.codec.vae = editor.audio_vae = editor.runner = None
    editor.__dict__.pop("_vocoder", None)
    _clear(session)
    editor.codec.vae = session.load("vae")
    for name in ("transformer", "audio_vae"):
        setattr(editor, name, session.load(name))
    editor.__dict__["_vocoder"] = session.load("vocoder")
    session.set_levers(editor.levers)


def _decode_audio(session: Any) -> None:
    """Audio latent to waveform, as after every render."""
    session.editor.decode_audio(session.problem.conditioning.alpha_0)


def _clear(session: Any) -> None:
    gc.collect()
    if session.device.type == "cuda":
        torch.cuda.empty_cache()


def _encode_text(session: Any) -> None:
    texts = session.editor.texts
    texts.free()
    texts._known.clear()
    texts.encode(session.problem.prompt)
    texts.free()


def _two_backwards(_: Any) -> AbstractContextManager[Any]:
    """Go back through the renderer twice, each time with a share of the frames' gradient.

    How it is shared does not matter to cost or result; halves need no bookkeeping.
    """
    once = sparks.search.scoring._backward

    def twice(rendered: Tensor, seen: Tensor, latent: Mapping[str, Tensor]) -> None:
        assert seen.grad is not None
        half = seen.grad / 2
        rendered.backward(half, retain_graph=True)
        seen.grad = half
        once(rendered, seen, latent)

    return mock.patch.object(sparks.search.scoring, "_backward", twice)


def _whole_logits(_: Any) -> AbstractContextManager[Any]:
    """Logits at every position, and a cache that nothing reads."""
    import sparks.critics.qwen as qwen

    def yes_no_logits(model: Any, inputs: Mapping[str, Tensor], answers: list[int]) -> Tensor:
        logits = model(**inputs, use_cache=True).logits
        return logits[:, -1, list(answers)].float()

    return mock.patch.object(qwen, "yes_no_logits", yes_no_logits)


COSTS: dict[str, Cost] = {
    "rebuild": Cost(
        "ltx_pipelines 1.0.0 with its no-op registry: transformer, video decoder, audio decoder "
        "and vocoder are read and built for every call of the pipeline",
        patch=_before_each_evaluation(_rebuild),
    ),
    "audio": Cost(
        "ltx_pipelines 1.0.0, retake.py: the audio latent is decoded and vocoded after every "
        "render, frozen or not",
        patch=_before_each_evaluation(_decode_audio),
    ),
    "clear": Cost(
        "ltx_pipelines 1.0.0: collects garbage and empties the allocator's cache between stages",
        patch=_before_each_evaluation(_clear),
    ),
    "text": Cost(
        "audio_latent_opt, mode `audio`: the text encoder is loaded for every iteration",
        patch=_before_each_evaluation(_encode_text),
    ),
    "backwards": Cost(
        "multimodal_loop_qwen.py: the perceptual loss goes back through the renderer on its own, "
        "before the critic's",
        patch=_two_backwards,
    ),
    "logits": Cost(
        "qwen_loss.py: logits of the whole sequence, and a key-value cache",
        patch=_whole_logits,
    ),
    "modulation": Cost(
        "ltx_core 1.0.0: the timestep embedding is worked out for every token",
        levers={"two_valued": False},
    ),
    "positions": Cost(
        "ltx_core 1.0.0: rotary embeddings are computed in every forward",
        levers={"cached_positions": False},
    ),
    "recompute": Cost(
        "optimize_qwen_vl.py: gradient checkpointing of every block and of the decoder",
        levers={"keep_blocks": 0, "decoder_checkpointing": True},
    ),
    "tiles": Cost(
        "ltx_pipelines 1.0.0: the decoder runs in tiles of 64 frames that overlap by 24",
        levers={"tiled_decode": True},
        exact=False,
    ),
}
DEFAULT = tuple(name for name in COSTS if name != "text")  # mode `both` encodes the text once


def paying(session: Any, names: Sequence[str], levers: LTX2Levers) -> ExitStack:
    """A block inside which the session runs by these levers, except where the costs say so."""
    for name in names:
        levers = replace(levers, **(COSTS[name].levers or {}))
    session.set_levers(levers)
    stack = ExitStack()
    for name in names:
        patch = COSTS[name].patch
        if patch is not None:
            stack.enter_context(patch(session))
    return stack
