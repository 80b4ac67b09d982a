"""LTX-2's transformer as its denoiser calls it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparks.editors.conditioning import Pair
from sparks.editors.graphs import Replayed
from sparks.editors.levers import PLAIN, LTX2Levers
from sparks.editors.positions import Positions
from sparks.editors.runner import Runner

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


class LTX2Runner(Runner):
    """A `Runner` of LTX-2: two noise levels, rotary embeddings that are kept, CUDA graphs."""

    levers: LTX2Levers

    def __init__(
        self, transformer: "LTX2VideoTransformer3DModel", levers: LTX2Levers = PLAIN
    ) -> None:
        self.positions = Positions(transformer, cached=levers.cached_positions)
        self._bound: tuple[Pair, Pair, Tensor | None] | None = None
        self._replayed = Replayed(self._call_with_rows, _CHANGING[:2])
        if levers.two_valued:
            from sparks.editors.modulation import accept_two_values

            accept_two_values(transformer)
        super().__init__(transformer, levers)
        if levers.joined_projections or levers.eight_bits:
            from sparks.editors.joined import join_projections

            join_projections(transformer)
        if levers.eight_bits:
            from sparks.editors.eight_bits import use_eight_bits

            use_eight_bits(transformer)

    def __call__(self, reuse: "Reuse | None" = None, **arguments: Any) -> tuple[Tensor, ...]:
        """Velocities of video `[B, N, C]` and audio `[B, L, Ca*M]`, `reuse` saving blocks."""
        plain = not {"isolate_modalities", "perturbation_mask"} & arguments.keys()
        plain = plain and reuse is None  # a graph always runs the same blocks
        if plain and self._replays:
            changing = {name: arguments[name] for name in _CHANGING}
            constants = {k: v for k, v in arguments.items() if k not in changing}
            if self._rows is not None:
                changing["rows"] = self._rows
            return self._replayed(changing, constants | {"blocks_kept": self.blocks_kept})
        with self._uncompiled(arguments.get("spatio_temporal_guidance_blocks", ())):
            return super().__call__(reuse, **arguments)

    @property
    def _replays(self) -> bool:
        """Whether a call is a graph: a step with gradient is one if its blocks are recomputed."""
        recomputed = self.levers.compile and self.transformer.gradient_checkpointing
        return bool(self.levers.cuda_graphs and (recomputed or not torch.is_grad_enabled()))

    @contextmanager
    def _uncompiled(self, blocks: Sequence[int]) -> Iterator[None]:
        """Run these blocks as they are: what perturbs them is decided by a tensor's value."""
        chosen = [self.transformer.transformer_blocks[index] for index in blocks]
        compiled = [block._compiled_call_impl for block in chosen]
        for block in chosen:
            block._compiled_call_impl = None
        try:
            yield
        finally:
            for block, implementation in zip(chosen, compiled, strict=True):
                block._compiled_call_impl = implementation

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
    def _rows(self) -> Tensor | None:
        """Which of the two noise levels each video token has in the render that is bound."""
        return None if self._bound is None else self._bound[2]

    def _call_with_rows(
        self, rows: Tensor | None = None, blocks_kept: int = 0, **arguments: Any
    ) -> Pair:
        """As `_call`, with the tokens' rows given: a graph reads them from a place of its own.

        A graph also holds how many blocks keep their activations, `blocks_kept`.
        """
        from sparks.editors.modulation import use_rows

        use_rows(self.transformer, rows)
        try:
            video, audio = self._call(**arguments)
            return video, audio
        finally:
            use_rows(self.transformer, self._rows)
