"""Small CLIP and X-CLIP models: tokenizer, random weights and the folder they are saved in.

The classes are those of the full-size models; only the sizes and the vocabulary differ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparks.pocket.world import SIZE, WATCHED

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer, XCLIPModel

TEXT_LENGTH = 24
WIDTH = 64  # of the text model, and of what video and text are compared in


def build_tokenizer(sentences: Sequence[str]) -> CLIPTokenizer:
    """A byte-level BPE trained on `sentences` that can encode any text.

    The end token has the highest id, which is how X-CLIP finds the end of a text.
    """
    from tokenizers import pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    backend = CLIPTokenizer().backend_tokenizer  # for its normaliser and pre-tokeniser
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1024, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(sentences, trainer)
    model = json.loads(backend.to_str())["model"]
    vocabulary = dict.fromkeys(
        [*letters, *(f"{letter}</w>" for letter in letters), *model["vocab"]]
    )
    special = ("<|startoftext|>", "<|endoftext|>")
    words = [word for word in vocabulary if word not in special]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate([*words, *special])},
        merges=[tuple(pair) for pair in model["merges"]],
        model_max_length=TEXT_LENGTH,
    )


def build_clip(tokenizer: CLIPTokenizer, *, hidden: int = 128, layers: int = 3) -> CLIPModel:
    """A random float32 CLIP for frames of the world, in training mode."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=_text(tokenizer), vision_config=_vision(hidden, layers), projection_dim=WIDTH
    )
    return CLIPModel(config).train()


def build_xclip(
    tokenizer: CLIPTokenizer, *, num_frames: int = WATCHED, hidden: int = 96, layers: int = 3
) -> XCLIPModel:
    """A random float32 X-CLIP for `num_frames` frames of the world, in training mode."""
    from transformers import XCLIPConfig, XCLIPModel

    time = {
        "num_frames": num_frames,
        "mit_hidden_size": WIDTH,
        "mit_intermediate_size": 2 * WIDTH,
        "mit_num_hidden_layers": 2,
        "mit_num_attention_heads": 4,
    }
    config = XCLIPConfig(
        text_config=_text(tokenizer),
        vision_config={**_vision(hidden, layers), **time},
        projection_dim=WIDTH,
        prompt_layers=1,
        prompt_num_attention_heads=4,
    )
    model = XCLIPModel(config).train()
    # The library draws these with unit deviation, which drowns frames of this width.
    torch.nn.init.normal_(model.mit.position_embedding, std=0.02)
    return model


def save(folder: Path, model: Any, tokenizer: CLIPTokenizer) -> None:
    """Write the folder that the critics and plain `from_pretrained` load (safetensors)."""
    from transformers import CLIPImageProcessor

    side = model.config.vision_config.image_size
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    crop = {"height": side, "width": side}
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size=crop).save_pretrained(folder)


def _vision(hidden: int, layers: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": SIZE // 4,
    }


def _text(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": TEXT_LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
