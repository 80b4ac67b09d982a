"""Where text and sound act in a render: LTX-2's cross-attention, averaged while it denoises.

Nothing of the render is changed: beside each attention its softmax is worked out once more, in
float32 and some queries at a time, and only means over blocks, steps or heads are kept.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from diffusers.models.transformers.transformer_ltx2 import (
    apply_interleaved_rotary_emb,
    apply_split_rotary_emb,
)
from torch import Tensor

if TYPE_CHECKING:
    from sparks.editors.ltx2 import LTX2Editor

CHUNK_BYTES = 2**26  # of the probabilities that are looked at together
#: Means over all blocks, steps and heads, and over all but one of them.
AXES = ("all", "block", "step", "head")
#: What each map says of a place of the video.
KINDS = {
    "text": "share of its attention that is on the prompt's words",
    "text-writes": "how much the text adds to it, 1 where that is the mean",
    "sound": "share of the sound's attention that is on it, 1 where that is even",
    "sound-writes": "how much the sound adds to it, 1 where that is the mean",
}


@dataclass
class Means:
    """Running means of maps `[heads, N]`: of all, and of each block, step and head."""

    sums: dict[str, dict[int, Tensor]] = field(default_factory=lambda: {axis: {} for axis in AXES})
    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, maps: Tensor, block: int, step: int) -> None:
        """Count the maps of all heads of one block in one step."""
        mean = maps.mean(0)
        self._add("all", 0, mean)
        self._add("block", block, mean)
        self._add("step", step, mean)
        for head, each in enumerate(maps):
            self._add("head", head, each)

    def along(self, axis: str) -> Tensor:
        """`[n, N]`, one mean for each that there is on the axis."""
        sums = self.sums[axis]
        return torch.stack([sums[i] / self.counts[axis, i] for i in sorted(sums)])

    def _add(self, axis: str, index: int, value: Tensor) -> None:
        sums = self.sums[axis]
        sums[index] = sums[index] + value if index in sums else value.clone()
        self.counts[axis, index] = self.counts.get((axis, index), 0) + 1


class Gathering:
    """What is gathered of one render.

    Attributes:
        means: a `Means` for each of KINDS that has been seen.
        words: `[W, N]` share of each place's attention that is on each group of positions.
        moments: `[L, N]` each place's attention to the L moments of the sound, 1 where even.

    Args:
        positions: of the text context, for each word.
    """

    def __init__(self, positions: Sequence[Sequence[int]]) -> None:
        self.positions = positions
        self.means: dict[str, Means] = {}
        self._sums: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self._step, self._level = -1, -1.0
        self._active = False

    @property
    def words(self) -> Tensor:
        """`[W, N]`; see the class."""
        return self._sums["words"] / self._calls["words"]

    @property
    def moments(self) -> Tensor:
        """`[L, N]`; see the class."""
        return self._sums["moments"] / self._calls["moments"]

    def begin(self, arguments: Mapping[str, Any]) -> None:
        """The denoiser is called.

        The first pass of a step is the conditional one, which is looked at; guidance asks the
        others at the same noise level.
        """
        level = float(arguments["timestep"].max())
        self._active = level != self._level
        if self._active:
            self._step, self._level = self._step + 1, level

    def text(self, block: int, attention: "Attention") -> None:
        """Video asks the text: which words a place reads, and how much is written to it."""
        if not self._active:
            return
        groups = attention.queries.new_zeros(attention.keys.shape[1], len(self.positions))
        for word, positions in enumerate(self.positions):
            groups[list(positions), word] = 1
        shares, written = attention.over_queries(lambda p: p @ groups)
        self._sum("words", shares.mean(0).T)
        self._mean("text", shares.sum(-1), block)
        self._mean("text-writes", written / written.mean(), block)

    def sound(self, block: int, attention: "Attention") -> None:
        """Video asks the sound: which moment a place hears, and how much is written to it."""
        if not self._active:
            return
        heard, written = attention.over_queries(lambda p: p.mean(0, keepdim=True))
        self._sum("moments", heard[0].T * heard.shape[-1])
        self._mean("sound-writes", written / written.mean(), block)

    def gaze(self, block: int, attention: "Attention") -> None:
        """Sound asks the video: which places it looks at."""
        if not self._active:
            return
        looks = sum(p.mean(1) * (p.shape[1] / attention.queries.shape[1]) for p in attention)
        assert isinstance(looks, Tensor)
        self._mean("sound", looks * looks.shape[-1], block)

    def _mean(self, kind: str, maps: Tensor, block: int) -> None:
        self.means.setdefault(kind, Means()).add(maps, block, self._step)

    def _sum(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._calls[name] = self._calls.get(name, 0) + 1


class Attention:
    """Queries, keys and values of one call, as diffusers' LTX-2 makes them; of the first candidate.

    Iterating gives probabilities `[H, q, K]` of some queries at a time.

    Attributes:
        queries, keys, values: float32 `[H, Q, D]`, `[H, K, D]`, rotary embeddings applied.
        gates: `[H, Q]` what each head's result is multiplied by.
    """

    def __init__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,
        **_: Any,
    ) -> None:
        self.attn = attn
        own, others = hidden_states[:1], encoder_hidden_states[:1]
        query, key = attn.norm_q(attn.to_q(own)), attn.norm_k(attn.to_k(others))
        if query_rotary_emb is not None:
            turn = apply_split_rotary_emb
            if attn.rope_type == "interleaved":
                turn = apply_interleaved_rotary_emb
            query = turn(query, _first(query_rotary_emb))
            key = turn(key, _first(key_rotary_emb or query_rotary_emb))
        self.queries, self.keys = self._by_head(query), self._by_head(key)
        self.values = self._by_head(attn.to_v(others))
        self.gates = self.queries.new_ones(self.queries.shape[:2])
        if attn.to_gate_logits is not None:
            self.gates = 2 * torch.sigmoid(attn.to_gate_logits(own)[0].float()).T

    def __iter__(self) -> Iterator[Tensor]:
        scaled = self.queries * self.queries.shape[-1] ** -0.5
        for part in scaled.split(self.chunk, 1):
            yield torch.softmax(part @ self.keys.transpose(1, 2), -1)

    @property
    def chunk(self) -> int:
        """Queries that are looked at together."""
        return max(1, CHUNK_BYTES // (4 * self.keys.shape[0] * self.keys.shape[1]))

    def over_queries(self, reduce: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Of every query: `reduce` of its probabilities, `[.., Q, ..]`, and how much is written.

        A head h writes `W_h g_h sum_k p_k v_k`, W_h its columns of the output projection; its
        length is given, `[H, Q]`, before what the block scales all heads by.
        """
        weight = self.attn.to_out[0].weight.float().unflatten(1, (self.attn.heads, -1))
        gram = torch.einsum("ohd,ohe->hde", weight, weight)
        reduced, lengths = [], []
        for probabilities in self:
            reduced.append(reduce(probabilities))
            mixed = probabilities @ self.values
            lengths.append(((mixed @ gram) * mixed).sum(-1).clamp(min=0).sqrt())
        return torch.cat(reduced, 1), torch.cat(lengths, 1) * self.gates

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens[0].float().unflatten(1, (self.attn.heads, -1)).transpose(0, 1)


def _first(rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return rotary[0][:1], rotary[1][:1]


@contextmanager
def gathering(editor: "LTX2Editor", positions: Sequence[Sequence[int]]) -> Iterator[Gathering]:
    """Gather, from the one render inside, of one candidate.

    Args:
        editor: runs its blocks uncompiled meanwhile.
        positions: of the text context, for each word; see `GemmaContexts.words`.
    """
    with editor.uncompiled(), watched(editor.transformer, Gathering(positions)) as gathered:
        yield gathered


G = TypeVar("G", bound=Gathering)


@contextmanager
def watched(transformer: Any, gathered: G) -> Iterator[G]:
    """Inside, `gathered` is shown every call of the transformer and of its cross-attentions."""
    looks = {
        "attn2": gathered.text,
        "audio_to_video_attn": gathered.sound,
        "video_to_audio_attn": gathered.gaze,
    }
    with ExitStack() as stack:

        def watch(module: Any, hook: Callable[[Any, Any, dict[str, Any]], None]) -> None:
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

        watch(transformer, lambda _, __, arguments: gathered.begin(arguments))
        for number, block in enumerate(transformer.transformer_blocks):
            for name, look in looks.items():
                watch(getattr(block, name), _hook(look, number))
        yield gathered


def _hook(look: Callable[[int, Attention], None], block: int) -> Callable[..., None]:
    @torch.no_grad()
    def hook(attn: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        look(block, Attention(attn, *arguments, **named))

    return hook
