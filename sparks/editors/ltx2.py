"""Retake with LTX-2 as a differentiable function of its audio latent and text residual."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.editors.choosing import choose, situation
from sparks.editors.conditioning import LTX2Conditioning, draw_noise, pack_audio, unpack_audio
from sparks.editors.controls import Controls
from sparks.editors.footprint import Storage
from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.levers import LTX2Levers
from sparks.editors.loading import ModelSource
from sparks.editors.ltx2_denoiser import LTX2Denoiser, sample
from sparks.editors.ltx2_runner import LTX2Runner
from sparks.editors.masking import audio_latent_frames
from sparks.editors.mel import SAMPLE_RATE, griffin_lim, log_mel
from sparks.editors.schedule import Sampling
from sparks.editors.text import GemmaContexts
from sparks.editors.video import VideoEditor
from sparks.errors import SparksError
from sparks.models.weights import BUNDLED

if TYPE_CHECKING:
    from sparks.media.clip import Clip


class LTX2Editor(VideoEditor[LTX2Conditioning]):
    """Frozen LTX-2 model that edits a clip under `Controls`.

    Attributes:
        audio_vae: the frozen audio codec.
    """

    required = ("transformer", "vae", "audio_vae", "text_encoder", "tokenizer", "connectors")
    denoiser = "LTX2VideoTransformer3DModel"

    levers: LTX2Levers

    def __init__(
        self,
        model: str | Path | ModelSource = BUNDLED,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        levers: LTX2Levers = LTX2Levers(),
        storage: Storage = "resident",
        text_device: str | None = None,
    ) -> None:
        """Find a model and load its codecs; the other networks follow when first needed.

        Args:
            model: diffusers-format folder, hub id, or BUNDLED; or where else networks come from.
            device: the GPU if there is one, by default.
            dtype: of weights and latents; bfloat16 on a GPU and float32 elsewhere by default.
            levers: speed and memory of the denoiser and the decoder.
            storage: of the denoiser, see `sparks.editors.storage`.
            text_device: where prompts are encoded, `device` if None.

        Raises:
            SparksError: if the model cannot be found, read, or used for Retake.
        """
        super().__init__(
            model, device, dtype, levers=levers, storage=storage, text_device=text_device
        )
        self.audio_vae = self._load("audio_vae")
        if self.vae.config.timestep_conditioning:
            raise SparksError(
                f"model {str(model)!r} has a noise-conditioned video decoder; use 2.x"
            )

    def _texts(self, runs_on: torch.device | None) -> GemmaContexts:
        return GemmaContexts(self.source, self.device, self.dtype, runs_on)

    @cached_property
    def runner(self) -> LTX2Runner:
        """What calls the denoiser."""
        return LTX2Runner(self.transformer, self.levers)

    def settle(
        self,
        conditioning: LTX2Conditioning,
        sampling: Sampling,
        before: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Decide the levers that were left open; until then they are off.

        On a CUDA device that is what was quickest there for renders of this size; the first time
        it takes about a minute for a full-size model, see `sparks.editors.choosing`.

        Args:
            conditioning: of the size that will be rendered.
            sampling: likewise.
            before: what an earlier process settled on, to go on alike.

        Returns:
            All levers by name, as they are from now on.
        """
        levers = self._chosen(conditioning, sampling, before) if self.levers.open else self.levers
        self._pull(levers)
        return asdict(levers)

    @contextmanager
    def uncompiled(self) -> Iterator[None]:
        """Run every block as the library has it inside, so that hooks on its parts are called."""
        before = self.levers
        self._pull(replace(before, compile=False, activation_budget=None, cuda_graphs=False))
        try:
            yield
        finally:
            self._pull(before)

    def _pull(self, levers: LTX2Levers) -> None:
        if levers != self.levers:
            self.levers = self.codec.levers = levers
            self.__dict__.pop("runner", None)  # made anew when it is needed

    def _chosen(
        self,
        conditioning: LTX2Conditioning,
        sampling: Sampling,
        before: Mapping[str, Any] | None,
    ) -> LTX2Levers:
        if self.device.type != "cuda":
            return self.levers.closed
        if before is not None:
            settled: dict[str, Any] = {name: before.get(name) for name in self.levers.open}
            return replace(self.levers, **settled)
        network, start = self.transformer, self.start(conditioning)

        def trial(levers: LTX2Levers) -> Callable[[], Any]:
            runner = LTX2Runner(network, levers)
            denoiser = LTX2Denoiser(runner, conditioning, start, sampling)
            states = denoiser.start()
            return lambda: denoiser.predict("cond", states, sampling.sigmas[0])

        tokens, moved = conditioning.video_latent.shape[1], self.storage != "resident"
        key = situation(network, tokens, self.dtype, self.storage)
        return choose(self.levers, key, 0 if moved else network.num_parameters(), trial)

    def _sample(
        self,
        conditioning: LTX2Conditioning,
        controls: Controls,
        sampling: Sampling,
        guidance: Guidance,
        gradient: bool,
    ) -> Tensor:
        return sample(
            self.runner,
            conditioning,
            controls,
            sampling=sampling,
            guidance=guidance,
            gradient=gradient,
            counter=self.counter,
            prefix=self._prefixes.of(conditioning),
        )[0]

    def _condition(
        self, clip: "Clip", video: dict[str, Any], prompt: str, negative_prompt: str, seed: int
    ) -> LTX2Conditioning:
        """The audio is frozen. Without any, its latent is zero and it is generated together with
        the video; `synthesise_audio` and `LTX2Conditioning.with_audio` give it one to freeze.
        """
        alpha_0 = self._encode_audio(clip)
        audio_latent = pack_audio(alpha_0)
        noise_video, noise_audio = draw_noise(seed, video["video_latent"], audio_latent)
        frozen = torch.zeros(1, audio_latent.shape[1], 1, device=self.device)
        v_p, a_p = self.texts.encode(prompt)
        v_n, a_n = self.texts.encode(negative_prompt)
        return LTX2Conditioning(
            **video,
            alpha_0=alpha_0,
            audio_mask=frozen if clip.waveform is not None else torch.ones_like(frozen),
            v_p=v_p,
            a_p=a_p,
            v_n=v_n,
            a_n=a_n,
            noise_video=noise_video,
            noise_audio=noise_audio,
            prompt=prompt,
            seed=seed,
            silence=self._encode_audio(_muted(clip, self.audio_vae.config.in_channels)),
        )

    def start(self, conditioning: LTX2Conditioning) -> Controls:
        """The untuned controls in float32: alpha_0 and a residual of zero."""
        alpha, residual = conditioning.alpha_0.float(), torch.zeros_like(conditioning.v_p).float()
        return Controls(alpha.clone(), residual)

    @torch.no_grad()
    def synthesise_audio(
        self,
        clip: "Clip",
        prompt: str,
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        negative_prompt: str = "",
        seed: int = 0,
    ) -> Tensor:
        """Audio latent `[1, Ca, L, M]` for a silent clip: the video is kept, audio generated."""
        silent = replace(clip, waveform=None)
        conditioning = self.prepare(
            silent, prompt, negative_prompt=negative_prompt, prefix_frames=0, seed=seed
        )
        conditioning = conditioning.with_all_kept()
        _, tokens = sample(
            self.runner,
            conditioning,
            self.start(conditioning),
            sampling=sampling,
            guidance=guidance,
            counter=self.counter,
        )
        return unpack_audio(tokens, conditioning.alpha_0.shape[1])

    @torch.no_grad()
    def decode_audio(self, alpha: Tensor) -> tuple[Tensor, int]:
        """Waveform `[C, N]` of one latent `[1, Ca, L, M]`, and its sample rate.

        The model's vocoder speaks; without one, Griffin-Lim at 16 kHz.
        """
        tokens = pack_audio(alpha.to(self.device, self.dtype))
        tokens = tokens * self.audio_vae.latents_std + self.audio_vae.latents_mean
        latent = unpack_audio(tokens, alpha.shape[1])
        mel = self.audio_vae.decode(latent, return_dict=False)[0]
        if self._vocoder is None:
            return griffin_lim(mel.float())[0].cpu(), SAMPLE_RATE
        waveform, rate = self._vocoder(mel), self._vocoder.config.output_sampling_rate
        return waveform[0].float().cpu(), int(rate)

    @cached_property
    def _vocoder(self) -> Any:
        return self._load("vocoder") if "vocoder" in self.source else None

    def _encode_audio(self, clip: "Clip") -> Tensor:
        """Normalised latent `[1, Ca, L, M]`, zeros where the clip has no sound."""
        config = self.audio_vae.config
        num_frames, fps = clip.frames.shape[0], float(clip.fps)
        length = audio_latent_frames(num_frames, fps)
        if clip.waveform is None:
            width = self.audio_vae.latents_mean.numel()
            silence = torch.zeros(1, length, width, device=self.device, dtype=self.dtype)
            return unpack_audio(silence, config.latent_channels)
        waveform = _fit_waveform(clip, round(num_frames / fps * SAMPLE_RATE), config.in_channels)
        mel = log_mel(waveform[None].to(self.device)).to(self.dtype)
        tokens = pack_audio(self.audio_vae.encode(mel).latent_dist.mode())
        tokens = (tokens - self.audio_vae.latents_mean) / self.audio_vae.latents_std
        tokens = F.pad(tokens, (0, 0, 0, length - tokens.shape[1]))  # negative padding cuts
        return unpack_audio(tokens, config.latent_channels)


def _muted(clip: "Clip", channels: int) -> "Clip":
    """The clip with a track of nothing."""
    samples = round(clip.frames.shape[0] / float(clip.fps) * SAMPLE_RATE)
    return replace(clip, waveform=torch.zeros(channels, samples), sample_rate=SAMPLE_RATE)


def _fit_waveform(clip: "Clip", samples: int, channels: int) -> Tensor:
    """`[channels, samples]` at 16 kHz: resampled, mixed or duplicated, cut or padded."""
    waveform = clip.waveform
    assert waveform is not None
    if clip.sample_rate != SAMPLE_RATE:
        from sparks.media.clip import resample

        waveform = resample(waveform, clip.sample_rate, SAMPLE_RATE)
    if waveform.shape[0] != channels:
        waveform = waveform.mean(0, keepdim=True).expand(channels, -1)
    return F.pad(waveform, (0, samples - waveform.shape[1]))
