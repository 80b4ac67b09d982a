"""Differentiable Retake: an Euler loop over a frozen LTX-2 denoiser with a truncated graph."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparks.editors.conditioning import Conditioning, LTX2Conditioning, Pair, pack_audio
from sparks.editors.guidance import PASSES, UNGUIDED, Guidance, ModalityGuidance, combine
from sparks.editors.reuse import Reuse
from sparks.editors.runner import Runner
from sparks.editors.schedule import Sampling

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

    from sparks.editors.controls import Controls

StepListener = Callable[[int, Tensor, Tensor], None]


@dataclass
class Counter:
    """Denoiser passes, summed over the items of a batch."""

    forwards: int = 0
    backwards: int = 0


Walked = tuple[Pair, Pair | None]  # states between two steps, and the last guided prediction


class Prefix:
    """Where the steps without gradient led, for the next renders of the same search.

    Only single candidates are remembered: of several, nothing would tell which is which.
    """

    def __init__(self) -> None:
        self._made_by: tuple[Sampling, Guidance] | None = None
        self._walked: Walked | None = None
        self._uses = 0

    def take(self, sampling: Sampling, guidance: Guidance) -> Walked | None:
        """What was kept for these, unless it is time to run the steps anew."""
        if self._made_by != (sampling, guidance) or self._uses >= sampling.refresh_prefix:
            return None
        self._uses += 1
        return self._walked

    def keep(self, sampling: Sampling, guidance: Guidance, walked: Walked) -> None:
        """Remember what was just run."""
        if sampling.refresh_prefix > 1:
            self._made_by, self._walked, self._uses = (sampling, guidance), walked, 1


class Prefixes:
    """A `Prefix` for each conditioning, for as long as that exists: searches share none."""

    def __init__(self) -> None:
        self._prefixes: dict[int, Prefix] = {}

    def of(self, conditioning: Conditioning) -> Prefix:
        """The one of this object; an equal one has its own."""
        key = id(conditioning)
        if key not in self._prefixes:
            self._prefixes[key] = Prefix()
            weakref.finalize(conditioning, self._prefixes.pop, key)
        return self._prefixes[key]


def sample(
    transformer: "LTX2VideoTransformer3DModel | Runner",
    conditioning: LTX2Conditioning,
    controls: "Controls",
    *,
    sampling: Sampling,
    guidance: Guidance = UNGUIDED,
    gradient: bool = False,
    counter: Counter | None = None,
    on_step: StepListener | None = None,
    prefix: Prefix | None = None,
) -> Pair:
    """Denoise a batch of candidates that share one conditioning.

    Each step forms x0 = x - m s v per token (m the mask, s the noise level, v the velocity),
    guides it, restores the kept tokens, and moves x by (x - x0) / s * (s' - s).

    Args:
        transformer: frozen denoiser, as it is or under a `Runner`'s levers.
        conditioning: shared by the whole batch.
        controls: alpha `[B, Ca, L, M]`, delta_v `[B, T, Dv]`.
        sampling: the schedule and the extent of the graph; exact without gradient.
        guidance: strengths and options.
        gradient: keep the graph of the last `sampling.grad_steps` steps.
        counter: told of every denoiser forward and backward.
        on_step: called with the number of finished steps and the two states.
        prefix: where steps without gradient are remembered, for `sampling.refresh_prefix`.

    Returns:
        Final video tokens `[B, N, C]` and audio tokens `[B, L, Ca*M]`, normalised.
    """
    sampling = sampling if gradient else sampling.exact
    if gradient:
        guidance.check_steps(len(sampling.sigmas) - 1, sampling.grad_steps)
    steps = list(pairwise(sampling.sigmas))
    first_grad = max(len(steps) - sampling.grad_steps, 0) if gradient else len(steps)
    denoiser = Denoiser(transformer, conditioning, controls, sampling, guidance, counter)
    # With a graph from the first step on there is nothing to remember.
    memory = prefix if first_grad and denoiser.batch == 1 else None
    remembered = memory.take(sampling, guidance) if memory else None
    with torch.set_grad_enabled(first_grad == 0):
        states, guided = remembered or (denoiser.start(), None)
    for step, (sigma, following) in enumerate(steps):
        if step < first_grad and remembered:
            continue
        if step == first_grad and memory and not remembered:
            memory.keep(sampling, guidance, (states, guided))
        with torch.set_grad_enabled(step >= first_grad):
            if step >= first_grad and sampling.alpha_gradient == "direct":
                states = denoiser.restore(states)
            if guided is None or step % (guidance.skip_step + 1) == 0:
                guided = denoiser.guided(states, sigma)
            targets = denoiser.restore(guided)
            states = _euler_pair(states, targets, sigma, following)
        if on_step is not None:
            on_step(step + 1, *states)
    return states


class Denoiser:
    """A transformer bound to one conditioning and one batch of controls."""

    def __init__(
        self,
        transformer: "LTX2VideoTransformer3DModel | Runner",
        conditioning: LTX2Conditioning,
        controls: "Controls",
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        counter: Counter | None = None,
    ) -> None:
        self.runner = transformer if isinstance(transformer, Runner) else Runner(transformer)
        self.transformer = transformer = self.runner.transformer
        guidance.check_blocks(len(transformer.transformer_blocks))
        self.conditioning = conditioning
        self.sampling = sampling
        self.guidance = guidance
        self.counter = counter or Counter()
        self.batch = controls.alpha.shape[0]
        self.dtype, self.device = self.runner.dtype, self.runner.device
        self.masks = (self._place(conditioning.video_mask), self._place(conditioning.audio_mask))
        self.levels = self.runner.bind(self.masks)
        self.live = (bool(self.masks[0].any()), bool(self.masks[1].any()))
        settings = zip((guidance.video, guidance.audio), self.live, strict=True)
        self.effective = [chosen if live else ModalityGuidance() for chosen, live in settings]
        wanted = {name for chosen in self.effective for name in chosen.weights}
        self.passes = [name for name in PASSES if name == "cond" or name in wanted]
        alpha = pack_audio(controls.alpha)
        self.clean = (self._row(conditioning.video_latent), self._row(alpha))
        v_p = conditioning.v_p.to(self.device) + controls.delta_v.to(self.device)
        self.positive = (self._row(v_p), self._row(conditioning.a_p))
        self.negative = (self._row(conditioning.v_n), self._row(conditioning.a_n))
        self.arguments = self._constant_arguments()
        self.reuses = {name: Reuse(sampling.refresh_blocks) for name in PASSES}

    def start(self) -> Pair:
        """State before the first step: noise where regenerated, clean elsewhere."""
        noise = (self.conditioning.noise_video, self.conditioning.noise_audio)
        return self.restore((self._row(noise[0]), self._row(noise[1])))

    def restore(self, tokens: Pair) -> Pair:
        """`tokens` with the kept positions replaced by the clean latents, alpha among them."""
        video, audio = (
            torch.where(mask > 0, new, clean)
            for mask, new, clean in zip(self.masks, tokens, self.clean, strict=True)
        )
        return video, audio

    def guided(self, states: Pair, sigma: float) -> Pair:
        """Guided x0 of both modalities; a frozen modality is left alone.

        Guidance of a frozen modality would be overwritten anyway, and its rescale divides by
        zero where the latent is constant.
        """
        passes = {name: self.predict(name, states, sigma) for name in self.passes}
        video, audio = (
            combine(settings, {name: pair[modality] for name, pair in passes.items()})
            for modality, settings in enumerate(self.effective)
        )
        return video, audio

    def predict(self, name: str, states: Pair, sigma: float) -> Pair:
        """x0 in float32 of one pass: `cond`, `uncond`, `perturbed` or `isolated`."""
        velocity = self._velocity(name, states, sigma)
        video, audio = (
            state.float() - v.float() * (mask * sigma)
            for state, v, mask in zip(states, velocity, self.masks, strict=True)
        )
        return video, audio

    def _velocity(self, name: str, states: Pair, sigma: float) -> Pair:
        texts = self.negative if name == "uncond" else self.positive
        scale = self.transformer.config.timestep_scale_multiplier
        video_time, audio_time = (
            (level[..., 0] * sigma * scale).expand(self.batch, -1) for level in self.levels
        )
        video_sigma, audio_sigma = (self._announced(live, sigma * scale) for live in self.live)
        reused = self.sampling.refresh_blocks > 1 and not torch.is_grad_enabled()
        video, audio = self.runner(
            self.reuses[name] if reused else None,
            hidden_states=states[0],
            audio_hidden_states=states[1],
            encoder_hidden_states=texts[0],
            audio_encoder_hidden_states=texts[1],
            timestep=video_time,
            audio_timestep=audio_time,
            sigma=video_sigma,
            audio_sigma=audio_sigma,
            **self.arguments,
            **self._variation(name),
        )
        self._count(video)
        return video, audio

    def _variation(self, name: str) -> dict[str, Any]:
        if name == "isolated":
            return {"isolate_modalities": True}
        if name != "perturbed":
            return {}
        from sparks.editors.perturbation import perturbation_mask, separate_perturbation

        separate_perturbation(self.transformer)
        perturbed = self.guidance.perturbed
        return {
            "spatio_temporal_guidance_blocks": sorted(perturbed[0] | perturbed[1]),
            "perturbation_mask": perturbation_mask(
                len(self.transformer.transformer_blocks), perturbed
            ),
        }

    def _constant_arguments(self) -> dict[str, Any]:
        frames, height, width = self.conditioning.latent_shape
        length, fps = self.clean[1].shape[1], self.conditioning.fps
        shape, dtype = self.conditioning.latent_shape, self.sampling.coords_dtype
        return {
            "num_frames": frames,
            "height": height,
            "width": width,
            "fps": fps,
            "audio_num_frames": length,
            **self.runner.positions(self.batch, shape, length, fps, dtype),
            # LTX-2.3 modulates audio-video attention by the other modality's noise level.
            "use_cross_timestep": bool(self.transformer.config.cross_attn_mod),
        }

    def _announced(self, live: bool, timestep: float) -> Tensor:
        """Scalar noise level of a modality, per row, which a frozen one may deny."""
        silent = not live and self.sampling.frozen_audio_sigma == "zero"
        return torch.full((self.batch,), 0.0 if silent else timestep, device=self.device)

    def _count(self, output: Tensor) -> None:
        self.counter.forwards += self.batch
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, _: Tensor) -> None:
        self.counter.backwards += self.batch

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def _row(self, tensor: Tensor) -> Tensor:
        """On the model's device and dtype, one row per candidate."""
        return tensor.to(self.device, self.dtype).expand(self.batch, *tensor.shape[1:])


def _euler_pair(states: Pair, targets: Pair, sigma: float, following: float) -> Pair:
    video, audio = (
        _euler(state, target, sigma, following)
        for state, target in zip(states, targets, strict=True)
    )
    return video, audio


def _euler(state: Tensor, target: Tensor, sigma: float, following: float) -> Tensor:
    direction = (state.float() - target.float()) / sigma
    return (state.float() + direction * (following - sigma)).to(state.dtype)
