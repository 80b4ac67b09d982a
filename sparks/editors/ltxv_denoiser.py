"""The denoiser of LTX-Video: video tokens under a T5 context, one noise level for each token."""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sparks.editors.conditioning import VideoConditioning
from sparks.editors.guidance import PASSES, UNGUIDED, Guidance, combine
from sparks.editors.runner import Runner
from sparks.editors.sampler import Counter, Denoiser, States
from sparks.editors.schedule import Sampling

if TYPE_CHECKING:
    from diffusers import LTXVideoTransformer3DModel

    from sparks.editors.controls import Controls

_TIMESTEPS = 1000  # what the transformer calls a noise level of 1


@dataclass(frozen=True, kw_only=True)
class LTXVConditioning(VideoConditioning):
    """Of LTX-Video, which has no audio.

    Attributes:
        coords: `[1, 3, N]` where each token begins: seconds, and pixels from the top and the left.
        mask_p: `[1, T]`, 1 where `v_p` has a token of the prompt; `mask_n` that of `v_n`.
        noise_decoder: `[1, C, F, H', W']` or `[B, ...]`, of which some is mixed in for decoding.
    """

    coords: Tensor
    mask_p: Tensor
    mask_n: Tensor
    noise_decoder: Tensor

    noises = ("noise_video", "noise_decoder")


def video_coordinates(
    latent_shape: tuple[int, int, int],
    compression: tuple[int, int],
    fps: float,
    *,
    causal: bool,
) -> Tensor:
    """`[1, 3, N]` where each token begins: seconds, and pixels from the top and the left.

    Args:
        latent_shape: latent frames, rows, columns.
        compression: pixel frames of a latent frame, and pixels along the side of a token.
        fps: frames per second.
        causal: count the first latent frame as one frame (LTX-Video since 0.9.5), not as many.
    """
    axes = [torch.arange(size, dtype=torch.float32) for size in latent_shape]
    frames, rows, columns = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    frames = frames * compression[0]
    if causal:
        frames = (frames + 1 - compression[0]).clamp_min(0)
    return torch.stack([frames / fps, rows * compression[1], columns * compression[1]])[None]


class LTXVDenoiser(Denoiser):
    """LTX-Video bound to one conditioning and one batch of controls, of which alpha is empty."""

    states = ("hidden_states",)

    def __init__(
        self,
        transformer: "LTXVideoTransformer3DModel | Runner",
        conditioning: LTXVConditioning,
        controls: "Controls",
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        counter: Counter | None = None,
    ) -> None:
        runner = transformer if isinstance(transformer, Runner) else Runner(transformer)
        super().__init__(runner, conditioning, controls, sampling, guidance, counter)
        # Without audio there is nothing to isolate the video from.
        self.strengths = replace(guidance.video, modality_scale=1.0)
        self.passes = [n for n in PASSES if n == "cond" or n in self.strengths.weights]
        self.masks = (self._place(conditioning.video_mask),)
        self.clean = (self._row(conditioning.video_latent),)
        self.noise = (self._row(conditioning.noise_video),)
        v_p = conditioning.v_p.to(self.device) + controls.delta_v.to(self.device)
        self.positive = (self._row(v_p), self._row(conditioning.mask_p))
        self.negative = (self._row(conditioning.v_n), self._row(conditioning.mask_n))
        coords = self._place(conditioning.coords).to(getattr(torch, sampling.coords_dtype))
        self.coords = coords.expand(self.batch, -1, -1)

    def guided(self, states: States, sigma: float) -> States:
        """Guided x0; as in LTX-Video, it is the velocities that are guided and rescaled."""
        velocities = {name: self.velocity(name, states, sigma) for name in self.passes}
        velocity = combine(self.strengths, velocities)
        return (states[0].float() - velocity * (self.masks[0] * sigma),)

    def velocity(self, name: str, states: States, sigma: float) -> Tensor:
        """Of one pass, in float32: `cond`, `uncond` or `perturbed`."""
        context, mask = self.negative if name == "uncond" else self.positive
        levels = self.masks[0][..., 0].expand(self.batch, -1) * sigma
        blocks = self.guidance.perturbed[0] if name == "perturbed" else frozenset()
        with perturbed(self.transformer, blocks):
            (velocity,) = self.run(
                name,
                hidden_states=states[0],
                encoder_hidden_states=context,
                encoder_attention_mask=mask,
                timestep=levels * _TIMESTEPS,
                video_coords=self.coords,
            )
        return velocity.float()


@contextmanager
def perturbed(transformer: "LTXVideoTransformer3DModel", numbers: Set[int]) -> Iterator[None]:
    """Inside, the self-attention of these blocks looks at each token alone, as STG wants it."""
    blocks = transformer.transformer_blocks
    if numbers:
        transformer.transformer_blocks = nn.ModuleList(
            _Perturbed(block) if number in numbers else block for number, block in enumerate(blocks)
        )
    try:
        yield
    finally:
        transformer.transformer_blocks = blocks


class _Perturbed(nn.Module):
    """A block whose self-attention hands on its values, also when it is recomputed later."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *arguments: Any, **options: Any) -> Any:
        attention: Any = self.block.attn1
        usual, attention.processor = attention.processor, _values
        try:
            return self.block(*arguments, **options)
        finally:
            attention.processor = usual


class _Values:
    """In place of attention."""

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any) -> Tensor:
        result: Tensor = attn.to_out[0](attn.to_v(hidden_states))
        return result


_values = _Values()
