"""Attention whose projections of one input are a single matrix product.

Queries, keys, values and gates of the same tokens share their input; the weights are laid out one
after the other, so that the device is asked once where it was asked up to four times.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparks.editors.perturbation import AUDIO, VIDEO, ModalityPerturbedAttnProcessor

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

_SELF = {"attn1": VIDEO, "audio_attn1": AUDIO}
_CROSS = ("attn2", "audio_attn2", "audio_to_video_attn", "video_to_audio_attn")


class JoinedAttnProcessor(ModalityPerturbedAttnProcessor):
    """Computes what the stock processor does, with the projections that `join_projections` made."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        query_rotary_emb: tuple[Tensor, Tensor] | None = None,
        key_rotary_emb: tuple[Tensor, Tensor] | None = None,
        perturbation_mask: Tensor | None = None,
        all_perturbed: bool | None = None,
    ) -> Tensor:
        if attention_mask is not None:
            raise NotImplementedError("joined projections know no attention mask")
        query, key, value, gates = _project(attn, hidden_states, encoder_hidden_states)
        value = value.unflatten(2, (attn.heads, -1))
        if perturbation_mask is not None and self.perturbed(perturbation_mask):
            mixed = value
        else:
            query, key = attn.norm_q(query), attn.norm_k(key)
            if query_rotary_emb is not None:
                query = rotate(query, query_rotary_emb)
                key = rotate(key, query_rotary_emb if key_rotary_emb is None else key_rotary_emb)
            query, key = (each.unflatten(2, (attn.heads, -1)) for each in (query, key))
            mixed = _attend(query, key, value, self._attention_backend)
        if gates is not None:
            mixed = mixed * (2.0 * torch.sigmoid(gates)).unsqueeze(-1)
        return attn.to_out[0](mixed.flatten(2, 3))  # type: ignore[no-any-return]


def _project(
    attn: Any, tokens: Tensor, others: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Queries, keys and values `[B, n, H * D]`, and the logits of the gates `[B, n, H]`."""
    joined = [attn.joined_own(tokens)]
    if others is not None:
        joined.append(attn.joined_other(others))
    parts = [
        part
        for whole, sizes in zip(joined, attn.joined_sizes, strict=True)
        for part in whole.split(sizes, -1)
    ]
    if others is None:
        query, key, value, *gates = parts
    else:
        query, *gates, key, value = parts
    return query, key, value, gates[0] if gates else None


def _attend(query: Tensor, key: Tensor, value: Tensor, backend: Any) -> Tensor:
    """Attention over `[B, n, H, D]`, which the library would copy before it asks cuDNN."""
    if backend != AttentionBackendName._NATIVE_CUDNN:
        return dispatch_attention_fn(query, key, value, backend=backend)  # type: ignore[no-any-return]
    query, key, value = (each.transpose(1, 2) for each in (query, key, value))
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def rotate(tokens: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of channels of `tokens [B, n, H * D]`, split halves, by `[B, H, n, D / 2]`."""
    cos, sin = (each.transpose(1, 2) for each in rotary)
    first, second = tokens.unflatten(2, (cos.shape[2], 2, -1)).float().unbind(3)
    turned = torch.stack([first * cos - second * sin, second * cos + first * sin], 3)
    return turned.flatten(2).to(tokens.dtype)


def join_projections(transformer: "LTX2VideoTransformer3DModel") -> None:
    """Lay the weights of every attention's projections out together, and use them so."""
    for number, block in enumerate(transformer.transformer_blocks):
        for name in (*_SELF, *_CROSS):
            attn = getattr(block, name)
            if not hasattr(attn, "joined_own"):
                _join(attn, name in _SELF)
            stock, processor = attn.processor, JoinedAttnProcessor(number, _SELF.get(name, VIDEO))
            processor._attention_backend = stock._attention_backend
            attn.stock_processor = stock  # to bring back
            attn.set_processor(processor)


def _join(attn: Any, alone: bool) -> None:
    gates = [] if attn.to_gate_logits is None else [attn.to_gate_logits]
    if alone:
        groups = [[attn.to_q, attn.to_k, attn.to_v, *gates]]
    else:
        groups = [[attn.to_q, *gates], [attn.to_k, attn.to_v]]
    attn.joined_sizes = [[linear.out_features for linear in group] for group in groups]
    attn.joined_parts = dict(zip(("joined_own", "joined_other"), groups, strict=False))
    for name, group in attn.joined_parts.items():
        setattr(attn, name, _one(group))


def _one(linears: Sequence[nn.Linear]) -> nn.Linear:
    """One layer in the place of several; their weights become parts of its own."""
    weight = torch.cat([linear.weight for linear in linears])
    joined = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=weight.dtype)
    joined.weight = nn.Parameter(weight, requires_grad=False)
    joined.bias = nn.Parameter(torch.cat([each.bias for each in linears]), requires_grad=False)
    sizes = [linear.out_features for linear in linears]
    for linear, own in zip(linears, weight.split(sizes), strict=True):
        linear.weight.data = own
    return joined
