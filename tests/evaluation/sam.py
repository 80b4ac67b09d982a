"""SAM 2 of the real classes, small, with random weights."""

from pathlib import Path

import torch


def write_sam2(folder: Path, side: int = 128) -> Path:
    """A `Sam2VideoModel` of a million numbers and its processor."""
    from transformers import (
        Sam2HieraDetConfig,
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
        Sam2VisionConfig,
    )

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[side, side],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        fpn_hidden_size=128,
        backbone_feature_sizes=[[side // 2**k] * 2 for k in (2, 3, 4)],
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={
            "hidden_size": 128,
            "image_size": side,
            "patch_size": 16,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 128,
            "mlp_dim": 32,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        image_size=side,
        memory_attention_hidden_size=128,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_num_layers=1,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,  # the attention takes no other number
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
    )
    torch.manual_seed(0)
    network = Sam2VideoModel(config)
    seen = network.mask_decoder.pred_obj_score_head  # else random weights see nothing anywhere
    torch.nn.init.constant_(seen.proj_out.bias, 10.0)
    network.save_pretrained(folder)
    size = {"height": side, "width": side}
    Sam2VideoProcessor(
        Sam2ImageProcessor(size=size, mask_size={"height": side // 4, "width": side // 4}),
        Sam2VideoVideoProcessor(size=size),
    ).save_pretrained(folder)
    return folder
