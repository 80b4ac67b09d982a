"""A tiny LTX-2.3-style model folder with random weights, of the real classes."""

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.editors.ltx2 import LTX2Editor
from sparks.media.clip import Clip

WORDS = ["a", "red", "blue", "ball", "square", "jumps", "stays", "blinks", "grows", "still"]
TEXT_LENGTH, TEXT_WIDTH, TEXT_LAYERS = 8, 16, 2
VIDEO_CHANNELS, AUDIO_CHANNELS, MEL_BINS = 6, 2, 64
AUDIO_WIDTH = AUDIO_CHANNELS * MEL_BINS // 4
HEADS, VIDEO_HEAD, AUDIO_HEAD = 2, 12, 8


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = {word: index for index, word in enumerate([*special, *WORDS])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", words["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        model_max_length=TEXT_LENGTH,
    )


def _text_encoder() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    size = len(WORDS) + 4
    config = Gemma3Config(
        text_config={
            "vocab_size": size,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 32,
            "num_hidden_layers": TEXT_LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "sliding_window": TEXT_LENGTH,
            "max_position_embeddings": 32,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        boi_token_index=size,
        eoi_token_index=size,
        image_token_index=size,
    )
    return Gemma3ForConditionalGeneration(config)


def _connectors() -> Any:
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    return LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=TEXT_LAYERS + 1,
        video_connector_num_attention_heads=HEADS,
        video_connector_attention_head_dim=VIDEO_HEAD,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=TEXT_LENGTH,
        video_gated_attn=True,
        audio_connector_num_attention_heads=HEADS,
        audio_connector_attention_head_dim=AUDIO_HEAD,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=TEXT_LENGTH,
        audio_gated_attn=True,
        connector_rope_base_seq_len=32,
        rope_type="split",
        per_modality_projections=True,
        proj_bias=True,
        video_hidden_dim=HEADS * VIDEO_HEAD,
        audio_hidden_dim=HEADS * AUDIO_HEAD,
    )


def _transformer() -> Any:
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(
        in_channels=VIDEO_CHANNELS,
        out_channels=VIDEO_CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=VIDEO_HEAD,
        cross_attention_dim=HEADS * VIDEO_HEAD,
        vae_scale_factors=(4, 8, 8),
        pos_embed_max_pos=4,
        base_height=32,
        base_width=32,
        gated_attn=True,
        cross_attn_mod=True,
        audio_in_channels=AUDIO_WIDTH,
        audio_out_channels=AUDIO_WIDTH,
        audio_num_attention_heads=HEADS,
        audio_attention_head_dim=AUDIO_HEAD,
        audio_cross_attention_dim=HEADS * AUDIO_HEAD,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        num_layers=2,
        caption_channels=TEXT_WIDTH,
        rope_type="split",
        use_prompt_embeddings=False,
        perturbed_attn=True,
    )


def _video_autoencoder() -> Any:
    from diffusers import AutoencoderKLLTX2Video

    return AutoencoderKLLTX2Video(
        latent_channels=VIDEO_CHANNELS,
        block_out_channels=(8, 16),
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        decoder_block_out_channels=(8, 16),
        layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal", "spatiotemporal"),
        upsample_type=("spatiotemporal", "spatiotemporal"),
        upsample_residual=(True, True),
        upsample_factor=(2, 2),
        patch_size=2,
        decoder_causal=False,
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )


def _audio_autoencoder() -> Any:
    from diffusers import AutoencoderKLLTX2Audio

    return AutoencoderKLLTX2Audio(
        base_channels=AUDIO_WIDTH,
        ch_mult=(1, 1, 1),
        num_res_blocks=1,
        latent_channels=AUDIO_CHANNELS,
        mel_bins=MEL_BINS,
    )


def _vocoder() -> Any:
    from diffusers.pipelines.ltx2 import LTX2Vocoder

    return LTX2Vocoder(
        hidden_channels=16,
        upsample_kernel_sizes=[11, 32],
        upsample_factors=[5, 16],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1]],
        output_sampling_rate=8000,
    )


_PARTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "transformer": ("diffusers", _transformer),
    "vae": ("diffusers", _video_autoencoder),
    "audio_vae": ("diffusers", _audio_autoencoder),
    "text_encoder": ("transformers", _text_encoder),
    "tokenizer": ("transformers", _tokenizer),
    "connectors": ("ltx2", _connectors),
}


def write_model(folder: Path, *, vocoder: bool = False) -> Path:
    """A model folder as diffusers writes it; the seed makes it the same every time."""
    parts = _PARTS | ({"vocoder": ("ltx2", _vocoder)} if vocoder else {})
    index: dict[str, Any] = {"_class_name": "LTX2Pipeline"}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for name, (library, build) in parts.items():
            part = build()
            if name == "transformer":
                _liven(part)
            part.save_pretrained(folder / name)
            index[name] = [library, type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@torch.no_grad()
def _liven(transformer: torch.nn.Module) -> None:
    # Fresh modulation tables and gates are near zero: audio and text would hardly be heard.
    for name, parameter in transformer.named_parameters():
        if "scale_shift_table" in name:
            parameter.normal_(std=0.5)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def editor(model_folder: Path) -> LTX2Editor:
    return LTX2Editor(model_folder, device="cpu")


def make_clip(num_frames: int = 17, size: int = 16, sound: bool = True) -> Clip:
    """A moving gradient with a falling tone."""
    fps = Fraction(25, 2)
    time = torch.linspace(0, 1, num_frames)[:, None, None, None]
    ramp = torch.linspace(0, 1, size)
    shades = torch.tensor([0.2, 0.5, 0.8])[None, :, None, None]
    frames = (shades + 0.3 * torch.sin(6 * (ramp[:, None] + time) + 3 * ramp)).clamp(0, 1)
    clock = torch.arange(round(num_frames / fps * 16_000)) / 16_000
    tone = 0.5 * torch.sin(2 * math.pi * (500 * clock - 100 * clock**2))
    return Clip(frames.float(), fps, tone.expand(2, -1) if sound else None, 16_000)


@pytest.fixture(scope="session")
def clip() -> Clip:
    return make_clip()
