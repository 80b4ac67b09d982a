"""A transformer as a denoiser calls it, with its levers pulled."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sparks.editors.footprint import block_bytes
from sparks.editors.levers import Levers
from sparks.models.machine import free_memory

if TYPE_CHECKING:
    from sparks.editors.reuse import Reuse

_SPARE = 0.5  # of the free memory, for the decoder, the critic and their gradients
_VARIANTS = 64  # of a compiled block: with and without gradient, isolated, for every batch size


class Runner:
    """Calls a frozen transformer under `Levers`; what it computes is the transformer's own.

    Args:
        transformer: one of diffusers with `transformer_blocks`; is changed to be called this way
            from now on.
        levers: how.
    """

    def __init__(self, transformer: Any, levers: Levers = Levers()) -> None:
        self.transformer, self.levers = transformer, levers
        self.blocks_kept, self._decided = 0, dict[tuple[int, int], int]()
        self._recomputed: Any = _recomputed
        _restore(transformer)
        if levers.attention is not None:
            transformer.set_attention_backend(levers.attention)
        if levers.compile:
            self._compile()

    def __call__(self, reuse: "Reuse | None" = None, **arguments: Any) -> tuple[Tensor, ...]:
        """What the transformer returns, each `[B, n, C]`; `reuse` saves blocks."""
        if reuse is None:
            return self._call(**arguments)
        with reuse.step(self.transformer):
            return self._call(**arguments)

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
        self.blocks_kept = self._kept_blocks(grad_steps, tokens) if keep else 0
        free = {
            id(block) for block in list(self.transformer.transformer_blocks)[: self.blocks_kept]
        }

        def run(block: Any, *arguments: Any) -> Any:
            if id(block) in free:
                return block(*arguments)
            return self._recomputed(block, *arguments)

        self.transformer.enable_gradient_checkpointing(run)

    def _kept_blocks(self, grad_steps: int, tokens: int) -> int:
        if self.levers.keep_blocks is not None:
            return self.levers.keep_blocks
        if (grad_steps, tokens) not in self._decided:  # once: a graph holds what was decided
            self._decided[grad_steps, tokens] = self._affordable(grad_steps, tokens)
        return self._decided[grad_steps, tokens]

    def _affordable(self, grad_steps: int, tokens: int) -> int:
        free = free_memory(self.device)
        config = self.transformer.config
        width = config.num_attention_heads * config.attention_head_dim
        block = block_bytes(tokens, width, self.dtype.itemsize) * grad_steps
        blocks = min(int(free * (1 - _SPARE) // block), config.num_layers)
        # A few are not worth compiling the block once more, without recomputation.
        return 0 if self.levers.compile and blocks < config.num_layers // 8 else blocks

    def _compile(self) -> None:
        torch._dynamo.config.cache_size_limit = max(
            torch._dynamo.config.cache_size_limit, _VARIANTS
        )
        options: dict[str, Any] = {"backend": self.levers.compile_backend, "dynamic": False}
        for block in self.transformer.transformer_blocks:
            block.compile(**options)
        self._recomputed = torch.compile(_recomputed_inside, **options)

    def _call(self, **arguments: Any) -> tuple[Tensor, ...]:
        with _activation_budget(self.levers.activation_budget):
            outputs: tuple[Tensor, ...] = self.transformer(**arguments, return_dict=False)
        return outputs


def _activation_budget(budget: float | None) -> AbstractContextManager[Any]:
    if budget is None:
        return nullcontext()
    import torch._functorch.config as functorch

    return functorch.patch(activation_memory_budget=budget)  # type: ignore[no-any-return]


def _restore(transformer: Any) -> None:
    """Undo what an earlier runner did to the way the transformer is called."""
    for block in transformer.transformer_blocks:
        block._compiled_call_impl = None
    for attn in (each for each in transformer.modules() if hasattr(each, "processor")):
        attn.set_processor(getattr(attn, "stock_processor", attn.processor))
        attn.processor._attention_backend = None


def _recomputed_inside(block: Any, *arguments: Any) -> Any:
    # Compiled as a whole, so that what the backward pass does not need is not computed again:
    # the weights are frozen, and a linear layer's input gradient needs neither input nor output.
    return checkpoint(block.forward, *arguments, use_reentrant=False, preserve_rng_state=False)


def _recomputed(block: Any, *arguments: Any) -> Any:
    # What the block holds beside its arguments must be the same when it is run again.
    rows = getattr(block, "rows", None)

    def run(*again: Any) -> Any:
        if rows is not None:
            block.rows = rows
        return block(*again)

    return checkpoint(run, *arguments, use_reentrant=False)
