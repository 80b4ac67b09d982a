"""Floating-point operations of an iteration, and how many a second a device can do.

    python benchmarks/flops.py ltx-2.3

prints what one pass of the denoiser and of the decoder takes, counted on the meta device.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from models import SIZES, Size
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sparks.critics.qwen import QwenCritic

_META = torch.device("meta")


def count(size: Size, critic: QwenCritic) -> dict[str, float]:
    """Operations by stage, with every block recomputed in the backward pass.

    Denoiser and decoder are counted on the meta device, at no cost; the critic where it is.
    """
    forward, backward = _both_ways(*_denoiser(size))
    decode, undo = _both_ways(*_decoder(size))
    device = critic.model.device
    frames = torch.rand(1, 8, 3, size.height, size.width, device=device)
    attention = critic.model.config._attn_implementation
    critic.model.set_attn_implementation("eager")  # torch 2.11 cannot count shared keys otherwise
    judge, unjudge = _both_ways(lambda seen: critic.log_odds(seen, "it jumps"), frames)
    critic.model.set_attn_implementation(attention)
    steps, grad_steps = size.sampling.num_inference_steps, size.sampling.grad_steps
    return {
        "prefix steps": (steps - grad_steps) * forward,
        "differentiable steps": grad_steps * forward,
        "decode": decode,
        "critic": judge + unjudge,
        "backward": grad_steps * (forward + backward) + undo,
    }


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 10) -> float:
    """Operations per second of a large square matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    for _ in range(3):
        left @ right
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        left @ right
    synchronise(device)
    return 2 * side**3 * repeats / (time.perf_counter() - start)


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _both_ways(call: Callable[[Tensor], Tensor], given: Tensor) -> tuple[float, float]:
    """Operations of a call, and of its backward pass to `given`."""
    given.requires_grad_()
    with FlopCounterMode(display=False) as forward:
        result = call(given)
    with FlopCounterMode(display=False) as backward:
        result.sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


def _denoiser(size: Size) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    model = size.components["transformer"].build(_META, torch.bfloat16).requires_grad_(False)
    config, shape, length = model.config, latent_shape(size), size.frames
    tokens = shape[0] * shape[1] * shape[2]

    def call(text: Tensor) -> Tensor:
        level = torch.ones(1, 1, device=_META)
        # All but the first differentiable step get a video that depends on the controls.
        video = _empty(tokens, config.in_channels).requires_grad_()
        outputs = model(
            hidden_states=video,
            audio_hidden_states=_empty(length, config.audio_in_channels).requires_grad_(),
            encoder_hidden_states=text,
            audio_encoder_hidden_states=_empty(size.text_length, config.audio_cross_attention_dim),
            timestep=level,
            audio_timestep=level,
            sigma=level[0],
            audio_sigma=level[0],
            num_frames=shape[0],
            height=shape[1],
            width=shape[2],
            fps=25.0,
            audio_num_frames=length,
            use_cross_timestep=True,
            return_dict=False,
        )
        return outputs[0]

    return call, _empty(size.text_length, config.cross_attention_dim)


def _decoder(size: Size) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    vae = size.components["vae"].build(_META, torch.bfloat16).requires_grad_(False)
    return vae.decoder, _empty(vae.config.latent_channels, *latent_shape(size))


def _empty(*sizes: int) -> Tensor:
    return torch.empty(1, *sizes, device=_META, dtype=torch.bfloat16)


def latent_shape(size: Size) -> tuple[int, int, int]:
    """Latent frames, rows and columns."""
    return (size.frames - 1) // 8 + 1, size.height // 32, size.width // 32


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the counts of a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=SIZES)
    size = SIZES[parser.parse_args(arguments).size]
    for what, network in (("denoiser", _denoiser), ("decoder", _decoder)):
        forward, backward = (flops / 1e12 for flops in _both_ways(*network(size)))
        print(f"{what}: {forward:.1f} TFLOP forward, {backward:.1f} backward")


if __name__ == "__main__":
    main()
