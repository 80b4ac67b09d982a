"""Prompts to the text contexts of a denoiser."""

import importlib.util
import re
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from sparks.editors.loading import ModelSource
from sparks.errors import SparksError

_LISTED_WORDS = 300


class TextContexts(ABC):
    """Encodes prompts, remembers the results, and holds the encoder only in between."""

    parts: ClassVar[tuple[str, ...]]  # the networks it takes
    padding_side: ClassVar[str]

    def __init__(
        self,
        source: ModelSource,
        device: torch.device,
        dtype: torch.dtype,
        runs_on: torch.device | None = None,
    ) -> None:
        """Load the tokenizer; contexts come on `device`, the networks run there or elsewhere."""
        self.runs_on = runs_on or device
        self.source, self.device, self.dtype = source, device, dtype
        self.tokenizer = source.load("tokenizer", padding_side=self.padding_side)
        self.length = self._longest()
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._networks: list[Any] | None = None
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def encode(self, prompt: str) -> tuple[Tensor, Tensor]:
        """What the denoiser is told of a prompt, the video's context `[1, T, Dv]` first.

        Raises:
            SparksError: for words the tokenizer does not know, or too many of them.
        """
        if prompt not in self._known:
            self._known[prompt] = self._encode(prompt)
        return self._known[prompt]

    def free(self) -> None:
        """Drop the networks; known prompts stay, others load them again."""
        self._networks = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @abstractmethod
    def _longest(self) -> int:
        """Tokens that prompts are padded to, and may have at most."""

    @abstractmethod
    def _contexts(self, networks: list[Any], ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `encode`; of token ids and their mask `[1, T]`, by the networks of `parts`."""

    @torch.no_grad()
    def _encode(self, prompt: str) -> tuple[Tensor, Tensor]:
        tokens = self._tokens(prompt.strip())
        if self._networks is None:
            self._networks = [self._load(part) for part in self.parts]
        ids, mask = (tokens[key].to(self.runs_on) for key in ("input_ids", "attention_mask"))
        first, second = self._contexts(self._networks, ids, mask)
        return first.to(self.device), second.to(self.device)

    def _load(self, name: str) -> Any:
        return self.source.load_frozen(name, self.runs_on, self.dtype)

    def _tokens(self, prompt: str) -> Any:
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            max_length=self.length,
            return_offsets_mapping=self.tokenizer.is_fast,
            return_tensors="pt",
        )
        unknown = self._unknown(prompt, tokens)
        if unknown:
            raise SparksError(f"prompt {prompt!r} has unknown {', '.join(unknown)}{self._advice()}")
        count = tokens["input_ids"].shape[1]
        if count > self.length:
            raise SparksError(
                f"prompt {prompt!r} has {count} tokens; the model reads {self.length}, shorten it"
            )
        return tokens

    def _unknown(self, prompt: str, tokens: Any) -> list[str]:
        """Words of the prompt that a word-level tokenizer cannot express."""
        unknown_id = self.tokenizer.unk_token_id
        if unknown_id is None or "offset_mapping" not in tokens:
            return []
        pairs = zip(tokens["input_ids"][0], tokens["offset_mapping"][0], strict=True)
        return [repr(prompt[start:end]) for token, (start, end) in pairs if token == unknown_id]

    def _advice(self) -> str:
        words = sorted(set(self.tokenizer.get_vocab()) - set(self.tokenizer.all_special_tokens))
        if len(words) > _LISTED_WORDS:
            return "; use words of the model's vocabulary"
        return f"; the model knows: {', '.join(words)}"


class GemmaContexts(TextContexts):
    """LTX-2's: contexts `[1, T, Dv]` for the video and `[1, T, Da]` for the audio."""

    parts = ("text_encoder", "connectors")
    padding_side = "left"
    _moves_to_front = True  # as published connectors do

    def words(self, prompt: str) -> list[tuple[str, list[int]]]:
        """The prompt's words, and which positions of the context each stands at.

        Connectors move the tokens to the front, and put registers of their own behind them.

        Raises:
            SparksError: the tokenizer does not say where in the prompt its tokens are from.
        """
        self.encode(prompt)
        prompt = prompt.strip()
        tokens = self._tokens(prompt)
        if "offset_mapping" not in tokens:
            raise SparksError("the model's tokenizer is a slow one; give it a tokenizer.json")
        padding = self.length - int(tokens["attention_mask"].sum())
        front = padding if self._moves_to_front else 0
        middles = [sum(pair) / 2 for pair in tokens["offset_mapping"][0].tolist()]
        return [
            (
                each.group().strip(",.;:!?\"'()"),
                [i - front for i in range(padding, self.length) if _inside(each, middles[i])],
            )
            for each in re.finditer(r"\S+", prompt)
        ]

    def _longest(self) -> int:
        return min(int(self.tokenizer.model_max_length), 1024)

    def _contexts(self, networks: list[Any], ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        encoder, connectors = networks
        registers = connectors.config.video_connector_num_learnable_registers
        self._moves_to_front = registers is not None
        output = encoder(
            input_ids=ids,
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,
        )
        layers = torch.stack(output.hidden_states, dim=-1)  # [1, T, D, layers]
        video, audio, _ = connectors(layers, mask, padding_side=self.padding_side)
        return video, audio


class T5Contexts(TextContexts):
    """LTX-Video's: a context `[1, T, D]`, and `[1, T]`, 1 where it has a token of the prompt."""

    parts = ("text_encoder",)
    padding_side = "right"

    def __init__(
        self,
        source: ModelSource,
        device: torch.device,
        dtype: torch.dtype,
        runs_on: torch.device | None = None,
        *,
        length: int = 256,
    ) -> None:
        """As of `TextContexts`; `length` is T, whatever the tokenizer says: T5 has no limit."""
        self._given = length
        _check_readable(source)
        super().__init__(source, device, dtype, runs_on)

    def _longest(self) -> int:
        return self._given

    def _contexts(self, networks: list[Any], ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        (encoder,) = networks
        return encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask


def _inside(word: "re.Match[str]", place: float) -> bool:
    return word.start() < place < word.end()


def _check_readable(source: ModelSource) -> None:
    """See that what reads the tokenizer's file is installed; transformers would name another."""
    folder = None if source.path is None else source.path / "tokenizer"
    if folder is None or (folder / "tokenizer.json").is_file():
        return
    if (folder / "spiece.model").is_file() and not importlib.util.find_spec("sentencepiece"):
        raise SparksError(
            f"the tokenizer in {folder} needs the package sentencepiece; "
            "pip install 'sound-sparks[ltxv]'"
        )
