"""The text encoder: a tiny Gemma 3, trained to continue the world's sentences."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparks.pocket.training import models
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.words import ACTIONS, COLOURS, NEGATIVE, PHRASES, SHAPES, phrase

if TYPE_CHECKING:
    from transformers import Gemma3ForConditionalGeneration, PreTrainedTokenizerFast


def sentences() -> list[str]:
    """Every prompt of the world in every wording, without repeats."""
    said = [
        phrase(colour, shape, action, variant)
        for colour, shape in itertools.product(COLOURS, SHAPES)
        for action in (None, *ACTIONS)
        for variant in range(2 * (len(PHRASES[action]) if action else 1))
    ]
    return list(dict.fromkeys([*said, *NEGATIVE]))


def train_text(course: Course) -> tuple[PreTrainedTokenizerFast, Gemma3ForConditionalGeneration]:
    """Next-word prediction; an end token follows every sentence."""
    device, batch, seed = course.device, course.batch, course.seed
    torch.manual_seed(seed)
    tokenizer = models.tokenizer()
    encoder = models.text_encoder(len(tokenizer)).to(device)
    ids, mask = tokenise(tokenizer, [f"{s} <eos>" for s in sentences()], device)
    labels = ids.masked_fill(mask == 0, -100)

    def loss(step: int) -> Tensor:
        rows = torch.randint(
            len(ids),
            (batch,),
            generator=generator(step, device),
            device=device,
        )
        return encoder(input_ids=ids[rows], attention_mask=mask[rows], labels=labels[rows]).loss

    fit("text_encoder", [encoder], loss, course, learning_rate=2e-3)
    return tokenizer, encoder.eval()


def tokenise(
    tokenizer: PreTrainedTokenizerFast, texts: list[str], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Left-padded ids and mask `[B, TEXT_LENGTH]`."""
    batch = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").to(device)
    return batch["input_ids"], batch["attention_mask"]


@torch.no_grad()
def hidden_states(encoder: Gemma3ForConditionalGeneration, ids: Tensor, mask: Tensor) -> Tensor:
    """All layers' states stacked last, `[B, T, D, layers + 1]`, as the connectors take them."""
    output = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    return torch.stack(output.hidden_states, dim=-1)
