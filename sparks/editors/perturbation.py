"""Spatio-temporal guidance for one modality at a time."""

from collections.abc import Set
from typing import TYPE_CHECKING

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2PerturbedAttnProcessor
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

VIDEO, AUDIO = 0, 1


class ModalityPerturbedAttnProcessor(LTX2PerturbedAttnProcessor):  # type: ignore[misc]
    """Self-attention that obeys its own modality's entry of the perturbation mask.

    The stock forward hands one mask to both modalities of all blocks that are perturbed. Here the
    mask has an axis of blocks and one of two (video, audio), 0 where perturbed. It travels as an
    argument, so recomputation under activation checkpointing sees it too.
    """

    def __init__(self, block: int, modality: int) -> None:
        super().__init__()
        self.block, self.modality = block, modality

    def perturbed(self, mask: Tensor) -> bool:
        """Whether a mask as of `perturbation_mask` perturbs this modality of this block."""
        return bool(mask[0, self.block, self.modality] == 0)

    def __call__(
        self,
        attn: torch.nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,
        perturbation_mask: Tensor | None = None,
        all_perturbed: bool | None = None,
    ) -> Tensor:
        if perturbation_mask is not None and perturbation_mask.shape[-1] == 2:
            all_perturbed, perturbation_mask = self.perturbed(perturbation_mask), None
        return super().__call__(
            attn,
            hidden_states,
            encoder_hidden_states,
            attention_mask,
            query_rotary_emb,
            key_rotary_emb,
            perturbation_mask,
            all_perturbed,
        )


def perturbation_mask(blocks: int, perturbed: tuple[Set[int], Set[int]]) -> Tensor:
    """`[1, blocks, 2]` mask for `ModalityPerturbedAttnProcessor`.

    It stays on the CPU, to avoid a device sync.

    Args:
        blocks: how many the transformer has.
        perturbed: numbers of those perturbed, of the video and of the audio.
    """
    mask = torch.ones(1, blocks, 2)
    for modality, numbers in enumerate(perturbed):
        mask[0, sorted(numbers), modality] = 0
    return mask


def separate_perturbation(transformer: "LTX2VideoTransformer3DModel") -> None:
    """Give every block's two self-attentions a `ModalityPerturbedAttnProcessor`, once."""
    for number, block in enumerate(transformer.transformer_blocks):
        block.perturbed_attn = True  # models published without it have the same weights
        for modality, attn in ((VIDEO, block.attn1), (AUDIO, block.audio_attn1)):
            if isinstance(attn.processor, ModalityPerturbedAttnProcessor):
                continue
            processor = ModalityPerturbedAttnProcessor(number, modality)
            processor._attention_backend = attn.processor._attention_backend
            attn.set_processor(processor)
