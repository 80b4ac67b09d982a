"""Linear layers whose matrix products are done in 8 bits, forward and for the input's gradient.

Weights are frozen, so there is no gradient for them. Every row of the tokens and every output
channel has a scale of its own.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

_DTYPE = torch.float8_e4m3fn
_LARGEST = torch.finfo(_DTYPE).max
# Layers over video or text tokens; those over a hundred audio tokens are too small to gain.
_LAYERS = (
    *("attn1.joined_own", "attn1.to_out.0"),
    *("attn2.joined_own", "attn2.joined_other", "attn2.to_out.0"),
    *("audio_to_video_attn.joined_own", "audio_to_video_attn.to_out.0"),
    "video_to_audio_attn.joined_other",
    *("ff.net.0.proj", "ff.net.2"),
)


def quantise(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """`[m, k]` in 8 bits and the scale of each row `[m, 1]`."""
    scale = tokens.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / _LARGEST
    return (tokens.float() / scale).to(_DTYPE), scale


@torch._dynamo.allow_in_graph
class _Product(torch.autograd.Function):
    """`tokens [m, k] @ weight [n, k].T`, the weight in 8 bits as it is and transposed."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        weight: Tensor,
        scale: Tensor,
        transposed: Tensor,
        transposed_scale: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(transposed, transposed_scale)
        return _product(tokens, weight, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        transposed, scale = ctx.saved_tensors
        return _product(gradient, transposed, scale), None, None, None, None


def _product(tokens: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    small, own = quantise(tokens)
    return torch._scaled_mm(
        small, weight.t(), own, scale, out_dtype=tokens.dtype, use_fast_accum=True
    )


class EightBitLinear(nn.Module):
    """In the place of a frozen linear layer."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.weight, self.scale = _frozen(weight)
        self.transposed, self.transposed_scale = _frozen(weight.t())
        self.bias = linear.bias

    def forward(self, tokens: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`."""
        rows = tokens.flatten(0, -2)
        made = _Product.apply(rows, self.weight, self.scale, self.transposed, self.transposed_scale)
        made = made.unflatten(0, tokens.shape[:-1])
        return made if self.bias is None else made + self.bias


def _frozen(weight: Tensor) -> tuple[nn.Parameter, nn.Parameter]:
    small, scale = quantise(weight)
    return (
        nn.Parameter(small.contiguous(), requires_grad=False),
        nn.Parameter(scale.t().contiguous(), requires_grad=False),
    )


def use_eight_bits(transformer: "LTX2VideoTransformer3DModel") -> None:
    """Replace the large layers of every block, joined before; their wide weights are let go."""
    for block in transformer.transformer_blocks:
        for path in _LAYERS:
            parent, _, name = path.rpartition(".")
            owner = block.get_submodule(parent)
            linear = getattr(owner, name)
            if isinstance(linear, nn.Linear):
                setattr(owner, name, EightBitLinear(linear))
                if name.startswith("joined"):
                    _let_go(owner, name)


def _let_go(attn: Any, name: str) -> None:
    """The layers that were joined hold parts of the wide weight."""
    for part in attn.joined_parts[name]:
        part.weight.data = part.weight.data.new_empty(0)
