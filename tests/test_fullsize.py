"""The full-size configurations, built without memory."""

import pytest
import torch

from sparks.fullsize import LTX_2, LTX_23, QWEN_7B, Component

COMPONENTS = {
    **{f"2.3 {name}": component for name, component in LTX_23.items()},
    **{f"2.0 {name}": LTX_2[name] for name in ("transformer", "vae", "vocoder", "connectors")},
    "qwen": QWEN_7B,
}


@pytest.mark.parametrize("component", COMPONENTS.values(), ids=COMPONENTS.keys())
def test_parameter_counts(component: Component) -> None:
    network = component.build("meta", torch.bfloat16)
    assert sum(parameter.numel() for parameter in network.parameters()) == component.parameters
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}


def test_block_and_decoder_counts() -> None:
    transformer = LTX_23["transformer"].build("meta", torch.bfloat16)
    block = transformer.transformer_blocks[0]
    assert sum(parameter.numel() for parameter in block.parameters()) == 386_695_360
    vae = LTX_23["vae"].build("meta", torch.bfloat16)
    assert (vae.spatial_compression_ratio, vae.temporal_compression_ratio) == (32, 8)
    assert round(sum(p.numel() for p in vae.decoder.parameters()) / 1e5) == 4072
