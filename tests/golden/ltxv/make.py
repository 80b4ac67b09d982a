"""Numbers of the `ltx-video` package on a tiny random model, for `test_golden_ltxv.py`.

    python -m venv golden && golden/bin/pip install ltx-video==0.1.2
    golden/bin/python tests/golden/ltxv/make.py

The package pins older libraries than sparks needs, hence an environment of its own. Weights are
written under the names that diffusers gives them. The package's posteriors are made to give their
mode instead of a sample: kept frames shall be kept.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from ltx_video.models.autoencoders.causal_video_autoencoder import CausalVideoAutoencoder
from ltx_video.models.autoencoders.vae import DiagonalGaussianDistribution
from ltx_video.models.autoencoders.vae_encode import (
    latent_to_pixel_coords,
    vae_decode,
    vae_encode,
)
from ltx_video.models.transformers.symmetric_patchifier import SymmetricPatchifier
from ltx_video.models.transformers.transformer3d import Transformer3DModel
from ltx_video.pipelines.pipeline_ltx_video import ConditioningItem, LTXVideoPipeline
from ltx_video.schedulers.rf import RectifiedFlowScheduler
from ltx_video.utils.skip_layer_strategy import SkipLayerStrategy
from safetensors.torch import save_file
from torch import Tensor

HERE = Path(__file__).parent
LATENT, TEXT, TOKENS, FPS = 6, 16, 8, 12.5
FRAMES, SIZE, KEPT = 17, 16, 9
DECODE_TIMESTEP, DECODE_NOISE_SCALE = 0.05, 0.025

TRANSFORMER = {
    "in_channels": LATENT,
    "out_channels": LATENT,
    "num_attention_heads": 2,
    "attention_head_dim": 14,  # 28 does not divide by 6: positions are padded
    "cross_attention_dim": 28,
    "num_layers": 3,
    "caption_channels": TEXT,
}
VAE = {  # of the kind that LTX-Video has since 0.9.5
    "latent_channels": LATENT,
    "block_out_channels": (4, 8, 8),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 2,
    "decoder_block_out_channels": (8,),
    "layers_per_block": (1, 1, 1),
    "decoder_layers_per_block": (1, 1),
    "spatio_temporal_scaling": (True, True),
    "decoder_spatio_temporal_scaling": (True,),
    "decoder_inject_noise": (False, False),
    "downsample_type": ("spatial", "temporal"),
    "upsample_residual": (True,),
    "upsample_factor": (2,),
    "timestep_conditioning": True,
    "patch_size": 2,
    "spatial_compression_ratio": 4,
    "temporal_compression_ratio": 2,
}
TRANSFORMER_NAMES = {
    "patchify_proj": "proj_in",
    "adaln_single": "time_embed",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}
VAE_NAMES = {
    "decoder.up_blocks.0.": "decoder.mid_block.",
    "decoder.up_blocks.1.": "decoder.up_blocks.0.upsamplers.0.",
    "decoder.up_blocks.2.": "decoder.up_blocks.0.",
    "encoder.down_blocks.1.": "encoder.down_blocks.0.downsamplers.0.",
    "encoder.down_blocks.2.": "encoder.down_blocks.1.",
    "encoder.down_blocks.3.": "encoder.down_blocks.1.downsamplers.0.",
    "encoder.down_blocks.4.": "encoder.mid_block.",
    "res_blocks": "resnets",
    "last_time_embedder": "time_embedder",
    "last_scale_shift_table": "scale_shift_table",
    "conv_shortcut.": "conv_shortcut.conv.",
    "norm3.norm.": "norm3.",
}


def make_transformer(*, causal: bool) -> Transformer3DModel:
    """Random weights whose modulation and text are not near zero, as fresh ones would be."""
    torch.manual_seed(0)
    model = Transformer3DModel(
        **TRANSFORMER,
        activation_fn="gelu-approximate",
        attention_bias=True,
        num_embeds_ada_norm=1000,
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        qk_norm="rms_norm",
        standardization_norm="rms_norm",
        positional_embedding_type="rope",
        positional_embedding_theta=10000.0,
        positional_embedding_max_pos=[20, 2048, 2048],
        timestep_scale_multiplier=1000,
        causal_temporal_positioning=causal,
    )
    return enliven(model)


def make_vae() -> CausalVideoAutoencoder:
    torch.manual_seed(1)
    res = ["res_x", {"num_layers": 1}]
    up = ["compress_all", {"residual": True, "multiplier": 2}]
    vae = CausalVideoAutoencoder.from_config(
        {
            "_class_name": "CausalVideoAutoencoder",
            "dims": 3,
            "latent_channels": LATENT,
            "encoder_blocks": [
                res,
                ["compress_space_res", {"multiplier": 2}],
                res,
                ["compress_time_res", {"multiplier": 1}],
                res,
            ],
            "decoder_blocks": [res, up, res],
            "encoder_base_channels": 4,
            "decoder_base_channels": 4,
            "norm_layer": "pixel_norm",
            "patch_size": 2,
            "latent_log_var": "uniform",
            "use_quant_conv": False,
            "causal_decoder": False,
            "timestep_conditioning": True,
            "spatial_padding_mode": "zeros",
        }
    )
    vae.register_buffer("mean_of_means", torch.randn(LATENT) / 4)
    vae.register_buffer("std_of_means", torch.rand(LATENT) + 0.5)
    return enliven(vae)


@torch.no_grad()
def enliven(model: torch.nn.Module) -> torch.nn.Module:
    for name, parameter in model.named_parameters():
        if "scale_shift_table" in name:
            parameter.normal_(std=0.5)
    return model.eval().requires_grad_(False)


def renamed(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    result = {}
    for name, value in state.items():
        for old, new in names.items():
            name = name.replace(old, new)  # no new name holds a later old one
        result[name] = value.clone().contiguous()
    return result


def convert(transformer: Transformer3DModel, vae: CausalVideoAutoencoder) -> None:
    """Write both under diffusers' names, once its classes have taken all of them."""
    state = renamed(transformer.state_dict(), TRANSFORMER_NAMES)
    LTXVideoTransformer3DModel(**TRANSFORMER).load_state_dict(state)
    save_file(state, HERE / "transformer.safetensors")
    statistics = {"latents_mean": vae.mean_of_means, "latents_std": vae.std_of_means}
    learned = {k: v for k, v in vae.state_dict().items() if "_of_means" not in k}
    state = renamed(learned, VAE_NAMES) | statistics
    AutoencoderKLLTXVideo(**VAE).load_state_dict(state)
    save_file(state, HERE / "vae.safetensors")


def coordinates(vae: CausalVideoAutoencoder, shape: tuple[int, int, int], causal: bool) -> Tensor:
    places = SymmetricPatchifier(1).get_latent_coords(*shape, 1, torch.device("cpu"))
    pixels = latent_to_pixel_coords(places, vae, causal_fix=causal).float()
    pixels[:, 0] /= FPS
    return pixels


def forwards(
    model: Transformer3DModel, vae: CausalVideoAutoencoder, data: dict[str, Tensor]
) -> None:
    """One forward with a noise level for each token, and one with perturbed attention."""
    shape = (3, 2, 2)
    tokens = shape[0] * shape[1] * shape[2]
    timestep = torch.full((2, tokens), 0.7)
    timestep[:, :4] = 0
    mask = torch.ones(2, TOKENS)
    mask[0, 5:] = mask[1, 3:] = 0
    given = {
        "hidden_states": torch.randn(2, tokens, LATENT),
        "encoder_hidden_states": torch.randn(2, TOKENS, TEXT),
        "timestep": timestep,
        "encoder_attention_mask": mask,
    }
    grid = coordinates(vae, shape, causal=True)
    call = {**given, "indices_grid": grid.expand(2, -1, -1), "return_dict": False}
    data |= {f"forward/{name}": value for name, value in given.items()} | {"forward/coords": grid}
    data["forward/velocity"] = model(**call)[0]
    skipped = model.create_skip_layer_mask(2, 1, 0, [1])
    strategy = SkipLayerStrategy.AttentionValues
    data["forward/perturbed"] = model(
        **call, skip_layer_mask=skipped, skip_layer_strategy=strategy
    )[0]


def codec(vae: CausalVideoAutoencoder, data: dict[str, Tensor]) -> Tensor:
    """Frames to a latent and back."""
    frames = (torch.rand(1, 3, FRAMES, SIZE, SIZE).half() * 2 - 1).float()
    latent = vae_encode(frames, vae, vae_per_channel_normalize=True)
    timestep = torch.tensor([DECODE_TIMESTEP])
    data["codec/frames"], data["codec/latent"] = frames.half(), latent
    data["codec/decoded"] = vae_decode(
        latent, vae, vae_per_channel_normalize=True, timestep=timestep
    )
    return frames


CASES = {
    "plain": {"sampler": "LinearQuadratic", "causal": True, "guidance": 1.0, "stg": 0.0},
    "cfg": {"sampler": "LinearQuadratic", "causal": True, "guidance": 3.0, "stg": 0.0},
    "stg": {"sampler": "LinearQuadratic", "causal": True, "guidance": 3.0, "stg": 1.0},
    "shifted": {"sampler": "Uniform", "causal": False, "guidance": 3.0, "stg": 0.0},
}
STEPS, STG_BLOCK, RESCALE = 4, 1, 0.7
LENGTHS = ((2, 144), (3, 1024), (5, 2640), (8, 4096), (30, 10000))  # steps and tokens


def loop(
    name: str, case: dict, vae: CausalVideoAutoencoder, frames: Tensor, data: dict[str, Tensor]
) -> list[float]:
    """A clip with its first frames kept, through the package's own pipeline; the noise levels."""
    old = case["sampler"] == "Uniform"
    scheduler = RectifiedFlowScheduler(
        sampler=case["sampler"],
        shifting="SD3" if old else None,
        target_shift_terminal=0.1 if old else None,
    )
    pipeline = LTXVideoPipeline(
        None,
        None,
        vae,
        make_transformer(causal=case["causal"]),
        scheduler,
        SymmetricPatchifier(1),
        *(None,) * 4,
    )
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(5)
    shape = (FRAMES // 2 + 1, SIZE // 4, SIZE // 4)
    data["loop/noise"] = torch.randn(1, shape[0] * shape[1] * shape[2], LATENT, generator=seed)
    latent = pipeline(
        height=SIZE,
        width=SIZE,
        num_frames=FRAMES,
        frame_rate=FPS,
        num_inference_steps=STEPS,
        guidance_scale=case["guidance"],
        stg_scale=case["stg"],
        rescaling_scale=RESCALE,
        skip_layer_strategy=SkipLayerStrategy.AttentionValues,
        skip_block_list=[STG_BLOCK],
        generator=torch.Generator().manual_seed(5),
        negative_prompt=None,
        prompt_embeds=data["loop/context"],
        prompt_attention_mask=data["loop/mask"],
        negative_prompt_embeds=data["loop/negative_context"],
        negative_prompt_attention_mask=data["loop/negative_mask"],
        conditioning_items=[ConditioningItem(frames[:, :, :KEPT], 0, 1.0)],
        output_type="latent",
        is_video=True,
        vae_per_channel_normalize=True,
    ).images
    data[f"loop/{name}/latent"] = latent
    mixed = latent * (1 - DECODE_NOISE_SCALE) + data["loop/decode_noise"] * DECODE_NOISE_SCALE
    video = vae_decode(
        mixed,
        vae,
        vae_per_channel_normalize=True,
        timestep=torch.tensor([DECODE_TIMESTEP]),
    )
    data[f"loop/{name}/frames"] = (video / 2 + 0.5).clamp(0, 1).half()
    return scheduler.timesteps.tolist()


def schedules() -> dict[str, list[list[float]]]:
    """Noise levels by kind, for each of LENGTHS."""
    even = RectifiedFlowScheduler(sampler="LinearQuadratic")
    shifted = RectifiedFlowScheduler(shifting="SD3", target_shift_terminal=0.1)
    told = {"linear_quadratic": [], "shifted": []}
    for steps, tokens in LENGTHS:
        for name, scheduler in (("linear_quadratic", even), ("shifted", shifted)):
            scheduler.set_timesteps(steps, torch.Size([1, tokens, 1]), device="cpu")
            told[name].append(scheduler.timesteps.tolist())
    return told


@torch.no_grad()
def main() -> None:
    DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    transformer, vae = make_transformer(causal=True), make_vae()
    convert(transformer, vae)
    torch.manual_seed(2)
    data: dict[str, Tensor] = {}
    forwards(transformer, vae, data)
    frames = codec(vae, data)
    data["loop/context"] = torch.randn(1, TOKENS, TEXT)
    data["loop/negative_context"] = torch.randn(1, TOKENS, TEXT)
    data["loop/mask"] = (torch.arange(TOKENS) < 6).float()[None]
    data["loop/negative_mask"] = (torch.arange(TOKENS) < 2).float()[None]
    data["loop/decode_noise"] = torch.randn_like(data["codec/latent"])
    levels = {name: loop(name, case, vae, frames, data) for name, case in CASES.items()}
    save_file({k: v.contiguous() for k, v in data.items()}, HERE / "cases.safetensors")
    told = {
        "transformer": TRANSFORMER,
        "vae": VAE,
        "fps": FPS,
        "prefix_frames": KEPT,
        "steps": STEPS,
        "stg_block": STG_BLOCK,
        "rescale": RESCALE,
        "decode_timestep": DECODE_TIMESTEP,
        "decode_noise_scale": DECODE_NOISE_SCALE,
        "lengths": LENGTHS,
        "schedules": schedules(),
        "cases": {name: {**case, "levels": levels[name]} for name, case in CASES.items()},
    }
    (HERE / "cases.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
