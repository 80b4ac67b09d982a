"""Prompts to the text contexts of the denoiser."""

from typing import Any

import torch
from torch import Tensor

from sparks.editors.loading import ModelSource
from sparks.errors import SparksError

_MAX_LENGTH = 1024  # of LTX-2; shorter where the tokenizer says so
_LISTED_WORDS = 300


class TextContexts:
    """Encodes prompts, remembers the results, and holds the encoder only in between."""

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
        self.tokenizer = source.load("tokenizer", padding_side="left")
        self.length = min(self.tokenizer.model_max_length, _MAX_LENGTH)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self._networks: tuple[Any, Any] | None = None
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    def encode(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Contexts `[1, T, Dv]` for the video and `[1, T, Da]` for the audio.

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

    @torch.no_grad()
    def _encode(self, prompt: str) -> tuple[Tensor, Tensor]:
        tokens = self._tokens(prompt.strip())
        if self._networks is None:
            self._networks = (self._load("text_encoder"), self._load("connectors"))
        encoder, connectors = self._networks
        mask = tokens["attention_mask"].to(self.runs_on)
        output = encoder(
            input_ids=tokens["input_ids"].to(self.runs_on),
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,
        )
        layers = torch.stack(output.hidden_states, dim=-1)  # [1, T, D, layers]
        video, audio, _ = connectors(layers, mask, padding_side="left")
        return video.to(self.device), audio.to(self.device)

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
