"""The denoiser as the sampler calls it, with its levers pulled."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sparks.editors.conditioning import Pair
from sparks.editors.graphs import Replayed
from sparks.editors.levers import PLAIN, Levers
from sparks.editors.positions import Positions
from sparks.models.machine import free_memory

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

    from sparks.editors.reuse import Reuse

_CHANGING = (
    "hidden_states",
    "audio_hidden_states",
    "encoder_hidden_states",
    "audio_encoder_hidden_states",
    "timestep",
    "audio_timestep",
    "sigma",
    "audio_sigma",
)
# Activations of a block, in tensors the size of its video tokens (1.2 GiB at 1920 x 4096).
_ACTIVATIONS = 82
_SPARE = 0.5  # of the free memory, for the decoder, the critic and their gradients


class Runner:
    """Calls a frozen transformer under `Levers`; what it computes is the transformer's own.

    Args:
        transformer: is changed to be called this way from now on.
        levers: how.
    """

    def __init__(self, transformer: "LTX2VideoTransformer3DModel", levers: Levers = PLAIN) -> None:
        self.transformer, self.levers = transformer, levers
        self.positions = Positions(transformer, cached=levers.cached_positions)
        self._bound: tuple[Pair, Pair, Tensor | None] | None = None
        self._replayed = Replayed(self._call_with_rows)
        if levers.attention is not None:
            transformer.set_attention_backend(levers.attention)
        if levers.two_valued:
            from sparks.editors.modulation import accept_two_values

            accept_two_values(transformer)
        if levers.compile:
            self._compile()

    def __call__(self, reuse: "Reuse | None" = None, **arguments: Any) -> Pair:
        """Velocities of video `[B, N, C]` and audio `[B, L, Ca*M]`, `reuse` saving blocks."""
        if reuse is not None:  # never as a graph, which always runs the same blocks
            with reuse.step(self.transformer):
                return self._call(**arguments)
        plain = not {"isolate_modalities", "perturbation_mask"} & arguments.keys()
        if self.levers.cuda_graphs and plain and not torch.is_grad_enabled():
            changing = {name: arguments[name] for name in _CHANGING}
            constants = {k: v for k, v in arguments.items() if k not in changing}
            if self._rows is not None:
                changing["rows"] = self._rows
            video, audio = self._replayed(changing, constants)
            return video, audio
        return self._call(**arguments)

    def bind(self, masks: Pair) -> Pair:
        """Prepare for a render with these masks, video `[1, N, 1]` and audio `[1, L, 1]`.

        Returns:
            The noise levels to announce, as shares of the step's: the masks themselves, or with
            `two_valued` their distinct values `[1, 1, 1]` or `[1, 2, 1]`.
        """
        from sparks.editors.modulation import distinct, use_rows

        if not self.levers.two_valued:
            use_rows(self.transformer, None)
            return masks
        if self._bound is None or any(
            a is not b for a, b in zip(self._bound[0], masks, strict=True)
        ):
            (video, rows), (audio, mixed) = distinct(masks[0]), distinct(masks[1])
            # Only the video's blocks know how to spread two rows.
            self._bound = (masks, (video, audio if mixed is None else masks[1]), rows)
        use_rows(self.transformer, self._bound[2])
        return self._bound[1]

    @property
    def device(self) -> torch.device:
        """Where the transformer computes."""
        return self.transformer.proj_in.weight.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; stored weights may be smaller."""
        return self.transformer.proj_in.weight.dtype  # type: ignore[no-any-return]

    def checkpoint(self, wanted: bool, grad_steps: int, tokens: int, *, keep: bool = True) -> None:
        """Recompute blocks in the backward pass, or keep all activations.

        Args:
            wanted: whether to recompute at all.
            grad_steps: steps whose activations are held at once.
            tokens: video tokens of the batch.
            keep: let some blocks keep their activations where memory allows.
        """
        if not wanted or self.levers.activation_budget is not None:
            self.transformer.disable_gradient_checkpointing()
            return
        kept = self._kept_blocks(grad_steps, tokens) if keep else 0
        free = {id(block) for block in list(self.transformer.transformer_blocks)[:kept]}

        def run(block: Any, *arguments: Any) -> Any:
            if id(block) in free:
                return block(*arguments)
            return _recomputed(block, *arguments)

        self.transformer.enable_gradient_checkpointing(run)

    def _kept_blocks(self, grad_steps: int, tokens: int) -> int:
        if self.levers.keep_blocks is not None:
            return self.levers.keep_blocks
        free = free_memory(self.device)
        config = self.transformer.config
        width = config.num_attention_heads * config.attention_head_dim
        block = _ACTIVATIONS * tokens * width * self.dtype.itemsize * grad_steps
        return int(free * (1 - _SPARE) // block)

    def _compile(self) -> None:
        for block in self.transformer.transformer_blocks:
            block.compile(backend=self.levers.compile_backend)

    @property
    def _rows(self) -> Tensor | None:
        """Which of the two noise levels each video token has in the render that is bound."""
        return None if self._bound is None else self._bound[2]

    def _call_with_rows(self, rows: Tensor | None = None, **arguments: Any) -> Pair:
        """As `_call`, with the tokens' rows given: a graph reads them from a place of its own."""
        from sparks.editors.modulation import use_rows

        use_rows(self.transformer, rows)
        try:
            return self._call(**arguments)
        finally:
            use_rows(self.transformer, self._rows)

    def _call(self, **arguments: Any) -> Pair:
        with _activation_budget(self.levers.activation_budget):
            video, audio = self.transformer(**arguments, return_dict=False)
        return video, audio


def _activation_budget(budget: float | None) -> AbstractContextManager[Any]:
    if budget is None:
        return nullcontext()
    import torch._functorch.config as functorch

    return functorch.patch(activation_memory_budget=budget)  # type: ignore[no-any-return]


def _recomputed(block: Any, *arguments: Any) -> Any:
    # What the block holds beside its arguments must be the same when it is run again.
    rows = getattr(block, "rows", None)

    def run(*again: Any) -> Any:
        if rows is not None:
            block.rows = rows
        return block(*again)

    return checkpoint(run, *arguments, use_reentrant=False)
