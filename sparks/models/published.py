"""The published full-size models: their classes, configurations and parameter counts.

They can be built with random weights, to measure and to plan before anything is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


@dataclass(frozen=True)
class Component:
    """One network of a model.

    Attributes:
        module: where its class is found.
        name: of the class.
        config: what differs from the class's own defaults.
        parameters: how many there are.
    """

    module: str
    name: str
    config: Mapping[str, Any]
    parameters: int

    def build(self, device: str | torch.device, dtype: torch.dtype) -> Any:
        """The network with random weights, made in place; the device `meta` takes no memory."""
        import torch

        with _default_dtype(dtype), torch.device(device):
            return random_network(self.module, self.name, self.config)


def random_network(module: str, name: str, config: Mapping[str, Any]) -> Any:
    """A random network: transformers wants a configuration object, diffusers keywords."""
    library = import_module(module)
    kind = getattr(library, name)
    if module != "transformers":
        return kind(**config)
    return kind(kind.config_class(**config))


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


_LTX2 = "diffusers.pipelines.ltx2"

_DENOISER = {
    "in_channels": 128,
    "out_channels": 128,
    "num_attention_heads": 32,
    "attention_head_dim": 128,
    "cross_attention_dim": 4096,
    "audio_in_channels": 128,
    "audio_out_channels": 128,
    "audio_num_attention_heads": 32,
    "audio_attention_head_dim": 64,
    "audio_cross_attention_dim": 2048,
    "num_layers": 48,
    "caption_channels": 3840,
    "rope_type": "split",  # the class's own default is another one
    "rope_double_precision": True,
}
_DENOISER_23 = {
    **_DENOISER,
    "gated_attn": True,
    "audio_gated_attn": True,
    "cross_attn_mod": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
    "perturbed_attn": True,
}

_VIDEO_20 = {
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
_VIDEO_23 = {
    **_VIDEO_20,
    "block_out_channels": (256, 512, 1024, 1024),
    "decoder_block_out_channels": (256, 512, 512, 1024),
    "layers_per_block": (4, 6, 4, 2, 2),
    "decoder_layers_per_block": (4, 6, 4, 2, 2),
    "spatio_temporal_scaling": (True,) * 4,
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
    "decoder_spatial_padding_mode": "zeros",
}

_CONNECTORS = {
    "caption_channels": 3840,
    "text_proj_in_factor": 49,
    "video_connector_num_learnable_registers": 128,
    "audio_connector_num_learnable_registers": 128,
    "connector_rope_base_seq_len": 4096,
    "rope_type": "split",
    "rope_double_precision": True,
}
_CONNECTORS_23 = {
    **_CONNECTORS,
    "video_connector_num_attention_heads": 32,
    "video_connector_attention_head_dim": 128,
    "video_connector_num_layers": 8,
    "video_gated_attn": True,
    "audio_connector_num_attention_heads": 32,
    "audio_connector_attention_head_dim": 64,
    "audio_connector_num_layers": 8,
    "audio_gated_attn": True,
    "per_modality_projections": True,
    "proj_bias": True,
    "video_hidden_dim": 4096,
    "audio_hidden_dim": 2048,
}
_CONNECTORS_20 = {
    **_CONNECTORS,
    "video_connector_num_attention_heads": 30,
    "video_connector_attention_head_dim": 128,
    "video_connector_num_layers": 2,
    "video_gated_attn": False,
    "audio_connector_num_attention_heads": 30,
    "audio_connector_attention_head_dim": 128,
    "audio_connector_num_layers": 2,
    "audio_gated_attn": False,
    "per_modality_projections": False,
    "proj_bias": False,
}

_GEMMA = {
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "sliding_window": 1024,
        "vocab_size": 262208,
    },
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
    },
}
_QWEN_7B = {
    "text_config": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [16, 24, 24],
        },
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "tokens_per_second": 2,
        "out_hidden_size": 3584,
    },
}

_GEMMA_12B = Component("transformers", "Gemma3ForConditionalGeneration", _GEMMA, 12_202_563_392)
_AUDIO = Component("diffusers", "AutoencoderKLLTX2Audio", {}, 53_248_146)

LTX_23 = {
    "transformer": Component(
        "diffusers", "LTX2VideoTransformer3DModel", _DENOISER_23, 18_988_838_144
    ),
    "vae": Component("diffusers", "AutoencoderKLLTX2Video", _VIDEO_23, 726_105_969),
    "audio_vae": _AUDIO,
    "vocoder": Component(f"{_LTX2}.vocoder", "LTX2VocoderWithBWE", {}, 128_537_448),
    "connectors": Component(_LTX2, "LTX2TextConnectors", _CONNECTORS_23, 3_172_227_584),
    "text_encoder": _GEMMA_12B,
}
LTX_2 = {
    "transformer": Component("diffusers", "LTX2VideoTransformer3DModel", _DENOISER, 18_876_174_592),
    "vae": Component("diffusers", "AutoencoderKLLTX2Video", _VIDEO_20, 1_222_479_601),
    "audio_vae": _AUDIO,
    "vocoder": Component(_LTX2, "LTX2Vocoder", {}, 55_592_802),
    "connectors": Component(_LTX2, "LTX2TextConnectors", _CONNECTORS_20, 1_431_475_200),
    "text_encoder": _GEMMA_12B,
}
QWEN_7B = Component("transformers", "Qwen2_5_VLForConditionalGeneration", _QWEN_7B, 8_292_166_656)
