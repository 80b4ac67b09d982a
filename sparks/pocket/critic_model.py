"""A small Qwen2.5-VL: tokenizer, random model and the folder both are saved in.

The classes are the ones of the full-size critic (`Qwen2_5_VLForConditionalGeneration`,
`Qwen2Tokenizer`); only the sizes and the vocabulary differ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(sentences: Sequence[str], *, vocab_size: int = 2048) -> Qwen2Tokenizer:
    """Train a byte-level BPE on `sentences`; `yes` and `no` are single tokens.

    Any text can be encoded (unknown words fall back to bytes). The special tokens and the chat
    template have the form of Qwen2.5-VL. The same sentences give the same tokenizer.
    """
    from tokenizers import pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    backend = Qwen2Tokenizer().backend_tokenizer  # for its normaliser and pre-tokeniser
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Repeated so that the two answers are merged whole before the vocabulary is full.
    answers = ["yes", "no", "You are a helpful assistant.", "system\nuser\nassistant\n"]
    backend.train_from_iterator([*sentences, *answers * (len(sentences) + 8)], trainer)
    model = json.loads(backend.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(
    tokenizer: Qwen2Tokenizer,
    *,
    hidden: int = 192,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 2,
    vision_hidden: int = 128,
    vision_depth: int = 4,
    vision_heads: int = 4,
    patch_size: int = 16,
    seed: int = 0,
) -> Qwen2_5_VLForConditionalGeneration:
    """A random float32 model of the given sizes, in training mode, drawn from `seed`.

    One attention window of the vision tower spans 4 patches, a whole frame of the pocket world.
    """
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer, hidden, layers, heads, kv_heads),
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_hidden,
            "intermediate_size": 3 * vision_hidden,
            "num_heads": vision_heads,
            "patch_size": patch_size,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            # Time is read off the order of the tokens. Releases of transformers disagree on how
            # fractions of a second become positions; zero is the one value they all read alike.
            "tokens_per_second": 0,
            "window_size": 4 * patch_size,
            "fullatt_block_indexes": list(range(1, vision_depth, 2)),
            "out_hidden_size": hidden,
        },
        **{f"{kind}_token_id": _id(tokenizer, f"<|{kind}_pad|>") for kind in ("image", "video")},
        vision_start_token_id=_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=_id(tokenizer, "<|vision_end|>"),
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen2_5_VLForConditionalGeneration(config).train()


def save(
    folder: str | PathLike[str],
    model: Qwen2_5_VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
) -> None:
    """Write the folder that `QwenCritic` and plain `from_pretrained` load (safetensors)."""
    folder = Path(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    vision = model.config.vision_config
    cell = vision.patch_size * vision.spatial_merge_size
    processor = {
        "processor_class": "Qwen2_5_VLProcessor",
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": vision.patch_size,
        "temporal_patch_size": vision.temporal_patch_size,
        "merge_size": vision.spatial_merge_size,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "min_pixels": cell**2,
        "max_pixels": (16 * cell) ** 2,
    }
    text = json.dumps(processor, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


def _text_config(
    tokenizer: Qwen2Tokenizer, hidden: int, layers: int, heads: int, kv_heads: int
) -> dict[str, Any]:
    pairs = hidden // heads // 2
    time = pairs // 4  # Qwen2.5-VL: a quarter of the rotary pairs for time, the rest for space
    row = (pairs - time) // 2
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 4096,
        "bos_token_id": _id(tokenizer, "<|endoftext|>"),
        "eos_token_id": _id(tokenizer, "<|im_end|>"),
        "pad_token_id": _id(tokenizer, "<|endoftext|>"),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [time, row, pairs - time - row],
        },
        "tie_word_embeddings": True,
    }


def _id(tokenizer: Qwen2Tokenizer, token: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(token))
