"""Steps without gradient that take over what the middle blocks added a step before.

The published caches of diffusers (first block, MagCache) do not know the blocks of LTX-2.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

States = tuple[Tensor, ...]


class Reuse:
    """What all blocks but the first and the last added, for one guidance pass of one render.

    Args:
        every: of so many steps, all blocks run in the first.
        names: of the states among a block's arguments, in the order that it returns them in.
    """

    _entered: States
    _added: States

    def __init__(self, every: int, names: Sequence[str]) -> None:
        self.every, self.names, self._steps = every, names, 0

    @contextmanager
    def step(self, transformer: Any) -> Iterator[None]:
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
        return [first, self._before(second, self._enter), *others, self._before(last, self._leave)]

    def _short(self, blocks: nn.ModuleList) -> list[nn.Module]:
        skipped = [_Skipped(self.names)] * (len(blocks) - 2)
        return [blocks[0], *skipped, self._before(blocks[-1], self._add)]

    def _before(self, block: nn.Module, look: Callable[[States], States]) -> nn.Module:
        return _Before(block, look, self.names)

    def _enter(self, states: States) -> States:
        self._entered = states
        return states

    def _leave(self, states: States) -> States:
        pairs = zip(states, self._entered, strict=True)
        self._added = tuple(state - entered for state, entered in pairs)
        del self._entered
        return states

    def _add(self, states: States) -> States:
        return tuple(state + added for state, added in zip(states, self._added, strict=True))


class _Before(nn.Module):
    """A block whose states go through `look` first."""

    def __init__(
        self, block: nn.Module, look: Callable[[States], States], names: Sequence[str]
    ) -> None:
        super().__init__()
        self.block, self.look, self.names = block, look, names

    def forward(self, **arguments: Any) -> Any:
        states = self.look(tuple(arguments[name] for name in self.names))
        return self.block(**{**arguments, **dict(zip(self.names, states, strict=True))})


class _Skipped(nn.Module):
    """In a block's place."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names

    def forward(self, **arguments: Any) -> Any:
        states = tuple(arguments[name] for name in self.names)
        return states if len(states) > 1 else states[0]
