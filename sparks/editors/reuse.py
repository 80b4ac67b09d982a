"""Steps without gradient that take over what the middle blocks added a step before.

The published caches of diffusers (first block, MagCache) do not know the blocks of LTX-2.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from sparks.editors.conditioning import Pair

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel


class Reuse:
    """What all blocks but the first and the last added, for one guidance pass of one render.

    Args:
        every: of so many steps, all blocks run in the first.
    """

    _entered: Pair
    _added: Pair

    def __init__(self, every: int) -> None:
        self.every, self._steps = every, 0

    @contextmanager
    def step(self, transformer: "LTX2VideoTransformer3DModel") -> Iterator[None]:
        """Call the transformer once inside, without gradient."""
        blocks = transformer.transformer_blocks
        if len(blocks) > 2:
            made = self._short(blocks) if self._steps % self.every else self._whole(blocks)
            transformer.transformer_blocks = nn.ModuleList(made)
        self._steps += 1
        try:
            yield
        finally:
            transformer.transformer_blocks = blocks

    # Every block keeps its place: guidance names the blocks that it perturbs by number.
    def _whole(self, blocks: nn.ModuleList) -> list[nn.Module]:
        first, second, *others, last = blocks
        return [first, _Before(second, self._enter), *others, _Before(last, self._leave)]

    def _short(self, blocks: nn.ModuleList) -> list[nn.Module]:
        return [blocks[0], *[_Skipped()] * (len(blocks) - 2), _Before(blocks[-1], self._add)]

    def _enter(self, video: Tensor, audio: Tensor) -> Pair:
        self._entered = video, audio
        return video, audio

    def _leave(self, video: Tensor, audio: Tensor) -> Pair:
        self._added = video - self._entered[0], audio - self._entered[1]
        del self._entered
        return video, audio

    def _add(self, video: Tensor, audio: Tensor) -> Pair:
        return video + self._added[0], audio + self._added[1]


class _Before(nn.Module):
    """A block whose states, video and audio, go through `look` first."""

    def __init__(self, block: nn.Module, look: Callable[[Tensor, Tensor], Pair]) -> None:
        super().__init__()
        self.block, self.look = block, look

    def forward(self, hidden_states: Tensor, audio_hidden_states: Tensor, **others: Any) -> Any:
        video, audio = self.look(hidden_states, audio_hidden_states)
        return self.block(hidden_states=video, audio_hidden_states=audio, **others)


class _Skipped(nn.Module):
    """In a block's place."""

    def forward(self, hidden_states: Tensor, audio_hidden_states: Tensor, **_: Any) -> Pair:
        return hidden_states, audio_hidden_states
