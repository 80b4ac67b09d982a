"""Sizes of the bundled model. The classes are those of LTX-2.3; only these numbers are small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparks.pocket.words import vocabulary
from sparks.pocket.world import SIZE

if TYPE_CHECKING:
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from transformers import Gemma3ForConditionalGeneration, PreTrainedTokenizerFast

VIDEO_CHANNELS = 48  # of a latent cell of 4 frames x 24 x 24 pixels
AUDIO_CHANNELS, MEL_BINS = 2, 64
AUDIO_WIDTH = AUDIO_CHANNELS * MEL_BINS // 4  # of one audio token
TEXT_LENGTH = 16
TEXT_WIDTH, TEXT_LAYERS = 64, 2
VIDEO_HEADS, VIDEO_HEAD = 4, 48
AUDIO_HEADS, AUDIO_HEAD = 4, 24


def video_autoencoder() -> AutoencoderKLLTX2Video:
    """24x spatial and 4x temporal compression; causal encoder, non-causal decoder."""
    from diffusers import AutoencoderKLLTX2Video

    return AutoencoderKLLTX2Video(
        latent_channels=VIDEO_CHANNELS,
        block_out_channels=(48, 96),
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        decoder_block_out_channels=(80, 80),
        layers_per_block=(2, 2, 2),
        decoder_layers_per_block=(2, 2, 2),
        spatio_temporal_scaling=(True, True),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal",) * 2,
        upsample_type=("spatiotemporal",) * 2,
        upsample_residual=(True, True),
        upsample_factor=(1, 1),
        patch_size=6,
        encoder_causal=True,
        decoder_causal=False,
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=24,
        temporal_compression_ratio=4,
    )


def audio_autoencoder() -> AutoencoderKLLTX2Audio:
    """Stereo log-mel of 64 bins to 2 channels x 16 bins at a quarter of the frame rate."""
    from diffusers import AutoencoderKLLTX2Audio

    # The statistics of the normalised latent have `base_channels` entries, one per token feature.
    return AutoencoderKLLTX2Audio(
        base_channels=AUDIO_WIDTH,
        ch_mult=(1, 2, 2),
        num_res_blocks=1,
        latent_channels=AUDIO_CHANNELS,
        mel_bins=MEL_BINS,
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per known word, left padded; any other word becomes `<unk>`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = {word: i for i, word in enumerate([*special, *vocabulary()])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(".", " "), normalizers.Replace(",", " ")]
    )
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
        padding_side="left",
        model_max_length=TEXT_LENGTH,
    )


def text_encoder(vocabulary_size: int) -> Gemma3ForConditionalGeneration:
    """Gemma 3 with two thin layers; its vision tower is never used and as small as can be."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config={
            "vocab_size": vocabulary_size,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 2 * TEXT_WIDTH,
            "num_hidden_layers": TEXT_LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": TEXT_WIDTH // 2,
            "sliding_window": TEXT_LENGTH,
            "max_position_embeddings": 4 * TEXT_LENGTH,
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
        boi_token_index=vocabulary_size,
        eoi_token_index=vocabulary_size,
        image_token_index=vocabulary_size,
        tie_word_embeddings=True,
    )
    return Gemma3ForConditionalGeneration(config)


def connectors() -> LTX2TextConnectors:
    """Hidden states of all text layers to the contexts of both streams, LTX-2.3 style."""
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    return LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=TEXT_LAYERS + 1,
        video_connector_num_attention_heads=VIDEO_HEADS,
        video_connector_attention_head_dim=VIDEO_HEAD,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=TEXT_LENGTH,
        video_gated_attn=True,
        audio_connector_num_attention_heads=AUDIO_HEADS,
        audio_connector_attention_head_dim=AUDIO_HEAD,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=TEXT_LENGTH,
        audio_gated_attn=True,
        connector_rope_base_seq_len=4 * TEXT_LENGTH,
        rope_double_precision=False,
        rope_type="split",
        per_modality_projections=True,
        proj_bias=True,
        video_hidden_dim=VIDEO_HEADS * VIDEO_HEAD,
        audio_hidden_dim=AUDIO_HEADS * AUDIO_HEAD,
    )


def denoiser() -> LTX2VideoTransformer3DModel:
    """The audio-video transformer, LTX-2.3 style."""
    from diffusers import LTX2VideoTransformer3DModel

    return LTX2VideoTransformer3DModel(
        in_channels=VIDEO_CHANNELS,
        out_channels=VIDEO_CHANNELS,
        num_attention_heads=VIDEO_HEADS,
        attention_head_dim=VIDEO_HEAD,
        cross_attention_dim=VIDEO_HEADS * VIDEO_HEAD,
        vae_scale_factors=(4, 24, 24),
        pos_embed_max_pos=4,
        base_height=SIZE,
        base_width=SIZE,
        gated_attn=True,
        cross_attn_mod=True,
        audio_in_channels=AUDIO_WIDTH,
        audio_out_channels=AUDIO_WIDTH,
        audio_num_attention_heads=AUDIO_HEADS,
        audio_attention_head_dim=AUDIO_HEAD,
        audio_cross_attention_dim=AUDIO_HEADS * AUDIO_HEAD,
        audio_pos_embed_max_pos=4,
        audio_gated_attn=True,
        audio_cross_attn_mod=True,
        num_layers=6,
        caption_channels=TEXT_WIDTH,
        rope_double_precision=False,
        rope_type="split",
        use_prompt_embeddings=False,
        perturbed_attn=True,
    )
