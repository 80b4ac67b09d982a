"""Matrix products in 8 bits."""

from copy import deepcopy

import torch
from torch import nn

from sparks.editors.eight_bits import EightBitLinear, quantise, use_eight_bits
from sparks.editors.joined import join_projections
from tests.editors import golden


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(nn.functional.cosine_similarity(one.detach().flatten(), other.flatten(), dim=0))


def test_a_layer_and_its_gradient() -> None:
    torch.manual_seed(0)
    wide = nn.Linear(64, 96).bfloat16().requires_grad_(False)
    wide.weight[3] *= 100  # an output channel of another size has a scale of its own
    narrow = EightBitLinear(wide)
    tokens = torch.randn(2, 5, 64).bfloat16()
    tokens[1] *= 1e-3  # so has a token
    found, gradients = [], []
    for layer in (wide, narrow):
        own = tokens.clone().requires_grad_()
        output = layer(own)
        output.backward(torch.linspace(-1, 1, output.numel()).reshape(output.shape).bfloat16())
        found.append(output.float())
        gradients.append(own.grad.float())
    assert found[1].shape == (2, 5, 96)
    for row in range(2):
        without_bias = [each[row] - wide.bias.float() for each in found]
        assert cosine(*without_bias) > 0.998
        assert cosine(*(each[row] for each in gradients)) > 0.998


def test_rows_of_zeros_stay_zero() -> None:
    small, scale = quantise(torch.zeros(2, 16))
    assert not small.float().any()
    assert scale.isfinite().all()


def test_large_layers_are_replaced_and_their_wide_weights_let_go() -> None:
    transformer = deepcopy(golden.tiny_transformer())
    join_projections(transformer)
    use_eight_bits(transformer)
    block = transformer.transformer_blocks[0]
    assert isinstance(block.attn1.joined_own, EightBitLinear)
    assert isinstance(block.ff.net[2], EightBitLinear)
    assert isinstance(block.audio_attn1.joined_own, nn.Linear)  # too small to gain
    assert block.attn1.to_q.weight.numel() == 0
    assert block.audio_attn1.to_q.weight.numel() > 0
    use_eight_bits(transformer)  # again changes nothing
