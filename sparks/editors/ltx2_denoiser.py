"""The denoiser of LTX-2: video and audio tokens together, either of which may be frozen."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparks.editors.conditioning import LTX2Conditioning, Pair, pack_audio
from sparks.editors.guidance import PASSES, UNGUIDED, Guidance, ModalityGuidance, combine
from sparks.editors.ltx2_runner import LTX2Runner
from sparks.editors.sampler import (
    Counter,
    Denoiser,
    Prefix,
    States,
    StepListener,
    denoise,
)
from sparks.editors.schedule import Sampling

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

    from sparks.editors.controls import Controls


def sample(
    transformer: "LTX2VideoTransformer3DModel | LTX2Runner",
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
    """Retake of a batch of candidates that share one conditioning; see `denoise`.

    Args:
        transformer: frozen denoiser, as it is or under a runner's levers.
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
    denoiser = LTX2Denoiser(transformer, conditioning, controls, sampling, guidance, counter)
    video, audio = denoise(denoiser, gradient=gradient, on_step=on_step, prefix=prefix)
    return video, audio


class LTX2Denoiser(Denoiser):
    """LTX-2 bound to one conditioning and one batch of controls."""

    states = ("hidden_states", "audio_hidden_states")
    runner: LTX2Runner

    def __init__(
        self,
        transformer: "LTX2VideoTransformer3DModel | LTX2Runner",
        conditioning: LTX2Conditioning,
        controls: "Controls",
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        counter: Counter | None = None,
    ) -> None:
        runner = transformer if isinstance(transformer, LTX2Runner) else LTX2Runner(transformer)
        super().__init__(runner, conditioning, controls, sampling, guidance, counter)
        self.conditioning = conditioning
        masks = (self._place(conditioning.video_mask), self._place(conditioning.audio_mask))
        self.masks, self.levels = masks, self.runner.bind(masks)
        self.live = (bool(masks[0].any()), bool(masks[1].any()))
        settings = zip((guidance.video, guidance.audio), self.live, strict=True)
        self.effective = [chosen if live else ModalityGuidance() for chosen, live in settings]
        wanted = {name for chosen in self.effective for name in chosen.weights}
        self.passes = [name for name in PASSES if name == "cond" or name in wanted]
        alpha = pack_audio(controls.alpha)
        self.clean = (self._row(conditioning.video_latent), self._row(alpha))
        self.noise = (self._row(conditioning.noise_video), self._row(conditioning.noise_audio))
        v_p = conditioning.v_p.to(self.device) + controls.delta_v.to(self.device)
        self.positive = (self._row(v_p), self._row(conditioning.a_p))
        self.negative = (self._row(conditioning.v_n), self._row(conditioning.a_n))
        self.arguments = self._constant_arguments()

    def guided(self, states: States, sigma: float) -> States:
        """Guided x0 of both modalities; a frozen modality is left alone.

        Guidance of a frozen modality would be overwritten anyway, and its rescale divides by
        zero where the latent is constant.
        """
        passes = {name: self.predict(name, states, sigma) for name in self.passes}
        return tuple(
            combine(settings, {name: pair[modality] for name, pair in passes.items()})
            for modality, settings in enumerate(self.effective)
        )

    def predict(self, name: str, states: States, sigma: float) -> Pair:
        """x0 in float32 of one pass: `cond`, `uncond`, `perturbed` or `isolated`."""
        velocity = self._velocity(name, states, sigma)
        video, audio = (
            state.float() - v.float() * (mask * sigma)
            for state, v, mask in zip(states, velocity, self.masks, strict=True)
        )
        return video, audio

    def _velocity(self, name: str, states: States, sigma: float) -> States:
        texts = self.negative if name == "uncond" else self.positive
        scale = self.transformer.config.timestep_scale_multiplier
        video_time, audio_time = (
            (level[..., 0] * sigma * scale).expand(self.batch, -1) for level in self.levels
        )
        video_sigma, audio_sigma = (self._announced(live, sigma * scale) for live in self.live)
        return self.run(
            name,
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
