"""A tiny LTX-Video model folder with random weights, of the real classes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WORDS = ["a", "red", "blue", "ball", "square", "jumps", "stays", "blinks", "grows", "still"]
TOKENS, WIDTH, CHANNELS, BLOCKS = 8, 16, 6, 3


def make_tokenizer() -> Any:
    """Of whole words."""
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *((f"▁{word}", -2.0) for word in WORDS)], extra_ids=0)


def _text_encoder() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=len(WORDS) + 3,
            d_model=WIDTH,
            d_kv=8,
            d_ff=32,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            relative_attention_num_buckets=8,
        )
    )


def _transformer() -> Any:
    from diffusers import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=BLOCKS,
        caption_channels=WIDTH,
    )


def _vae(**options: Any) -> Any:
    from diffusers import AutoencoderKLLTXVideo

    return AutoencoderKLLTXVideo(
        **{
            "latent_channels": CHANNELS,
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("LTXVideo095DownBlock3D",) * 2,
            "decoder_block_out_channels": (16, 32),
            "layers_per_block": (1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1),
            "spatio_temporal_scaling": (True, True),
            "decoder_spatio_temporal_scaling": (True, True),
            "decoder_inject_noise": (False,) * 3,
            "downsample_type": ("spatiotemporal", "spatiotemporal"),
            "upsample_residual": (True, True),
            "upsample_factor": (2, 2),
            "timestep_conditioning": True,
            "patch_size": 2,
            "spatial_compression_ratio": 8,
            "temporal_compression_ratio": 4,
            **options,
        }
    )


def make_scheduler(old: bool) -> Any:
    """Its settings tell the models before 0.9.5 from those since."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=old)


def write_ltxv_model(folder: Path, *, old: bool = False) -> Path:
    """As diffusers writes it, the same every time.

    Args:
        folder: is made.
        old: of the kind before 0.9.5, with noise in the decoder as in 0.9.1.
    """
    noisy = {"decoder_inject_noise": (True,) * 3} if old else {}
    parts: dict[str, Callable[[], Any]] = {
        "transformer": _transformer,
        "vae": lambda: _vae(**noisy),
        "text_encoder": _text_encoder,
        "tokenizer": make_tokenizer,
        "scheduler": lambda: make_scheduler(old),
    }
    index: dict[str, Any] = {"_class_name": "LTXPipeline"}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for name, build in parts.items():
            part = build()
            if isinstance(part, torch.nn.Module):
                _enliven(part)
            part.save_pretrained(folder / name)
            library = "transformers" if name in ("text_encoder", "tokenizer") else "diffusers"
            index[name] = [library, type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@torch.no_grad()
def _enliven(model: torch.nn.Module) -> None:
    # Fresh modulation, noise and text embeddings are near zero, or much larger than trained ones.
    for name, parameter in model.named_parameters():
        if "scale_shift_table" in name or "per_channel_scale" in name:
            parameter.normal_(std=0.5)
