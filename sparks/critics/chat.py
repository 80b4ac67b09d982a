"""A question about a video as token ids, the same ids that Qwen2_5_VLProcessor makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparks.errors import SparksError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen2_5_VLConfig

VIDEO = 2  # the token type of a video; text is 0


def question_inputs(
    tokenizer: PreTrainedTokenizerBase,
    config: Qwen2_5_VLConfig,
    questions: Sequence[str],
    grid: tuple[int, int, int],
    seconds_per_grid: float | Sequence[float],
) -> dict[str, Tensor]:
    """All that the model needs beside the pixels, for one video per question.

    Args:
        grid: (t, h, w), the patch grid of every video.
        seconds_per_grid: seconds between two steps of t, one for all videos or one for each.

    Returns:
        `input_ids`, `attention_mask`, `mm_token_type_ids` [B, S], padded on the left so that the
        answer follows the last position; `video_grid_thw` [B, 3]; `second_per_grid_ts` [B].

    Raises:
        SparksError: a question holds one of the tokenizer's reserved tokens.
    """
    video_token = tokenizer.convert_ids_to_tokens(config.video_token_id)
    t, h, w = grid
    placeholder = video_token * (t * h * w // config.vision_config.spatial_merge_size**2)
    texts = [_chat(tokenizer, text).replace(video_token, placeholder, 1) for text in questions]
    tokens = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    seconds = torch.as_tensor(seconds_per_grid, dtype=torch.float32)
    return {
        "input_ids": tokens["input_ids"],
        "attention_mask": tokens["attention_mask"],
        "mm_token_type_ids": VIDEO * (tokens["input_ids"] == config.video_token_id).int(),
        "video_grid_thw": torch.tensor([grid] * len(texts)),
        "second_per_grid_ts": seconds.expand(len(texts)),
    }


def answer_ids(tokenizer: PreTrainedTokenizerBase, answers: tuple[str, str]) -> list[int]:
    """The token that stands for each answer: the last one of its encoding.

    Raises:
        SparksError: the two answers end in the same token, or one is empty.
    """
    encoded = [tokenizer.encode(answer, add_special_tokens=False) for answer in answers]
    if not all(encoded) or encoded[0][-1] == encoded[1][-1]:
        raise SparksError(
            f"critic answers {answers!r} do not differ in their last token; choose others"
        )
    return [ids[-1] for ids in encoded]


def _chat(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    if reserved := [token for token in tokenizer.all_special_tokens if token in question]:
        raise SparksError(
            f"the question holds the reserved token {reserved[0]}; reword {question!r}"
        )
    content = [{"type": "video"}, {"type": "text", "text": question}]
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
