"""Retake with LTX-2 as a differentiable function of its audio latent and text residual."""

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.editors.conditioning import (
    LTX2Conditioning,
    draw_noise,
    pack_audio,
    pack_video,
    unpack_audio,
    unpack_video,
)
from sparks.editors.controls import Controls
from sparks.editors.decoding import (
    BYTES_PER_PIXEL,
    checkpoint_decoder,
    decode,
    prepare_decoder,
)
from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.levers import Levers
from sparks.editors.loading import ModelFolder, ModelSource
from sparks.editors.masking import (
    audio_latent_frames,
    prefix_mask,
    preserved_latents,
    video_window_mask,
)
from sparks.editors.mel import SAMPLE_RATE, griffin_lim, log_mel
from sparks.editors.runner import Runner
from sparks.editors.sampler import Counter, Prefixes, sample
from sparks.editors.schedule import Sampling
from sparks.editors.storage import check_storage, store
from sparks.editors.text import TextContexts
from sparks.errors import SparksError
from sparks.models.machine import check_device, free_memory
from sparks.models.weights import BUNDLED

if TYPE_CHECKING:
    from sparks.media.clip import Clip


class LTX2Editor:
    """Frozen LTX-2 model that edits a clip under `Controls`.

    Attributes:
        vae, audio_vae: the frozen codecs.
        source: where the networks come from; `folder` is its folder, None if it has none.
    """

    def __init__(
        self,
        model: str | Path | ModelSource = BUNDLED,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        levers: Levers = Levers(),
        storage: str = "resident",
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
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = dtype or (torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.source = ModelFolder(model) if isinstance(model, str | Path) else model
        self.folder = self.source.path
        check_storage(storage, levers)
        check_device(text_device)
        self.levers, self.storage = levers, storage
        elsewhere = None if text_device is None else torch.device(text_device)
        self.texts = TextContexts(self.source, self.device, self.dtype, elsewhere)
        self.vae = self._load("vae")
        self.audio_vae = self._load("audio_vae")
        if self.vae.config.timestep_conditioning:
            raise SparksError(
                f"model {str(model)!r} has a noise-conditioned video decoder; use 2.x"
            )
        prepare_decoder(self.vae, levers)
        self.counter, self._prefixes = Counter(), Prefixes()

    @cached_property
    def transformer(self) -> Any:
        """The denoiser, in the text encoder's place if that is still loaded."""
        self.texts.free()
        if self.storage == "resident":
            return self._load("transformer")
        network = self.source.load_frozen("transformer", torch.device("cpu"), self.dtype)
        store(network, self.storage, self.device)
        return network

    @cached_property
    def runner(self) -> Runner:
        """What calls the denoiser."""
        return Runner(self.transformer, self.levers)

    @property
    def spatial_multiple(self) -> int:
        """Height and width of a clip must be multiples of this."""
        return int(self.vae.spatial_compression_ratio)

    @property
    def temporal_compression(self) -> int:
        """s: a clip must have s * k + 1 frames."""
        return int(self.vae.temporal_compression_ratio)

    @property
    def forwards(self) -> int:
        """Denoiser forwards so far, summed over batch items."""
        return self.counter.forwards

    @property
    def backwards(self) -> int:
        """Denoiser backwards so far, summed over batch items."""
        return self.counter.backwards

    @torch.no_grad()
    def prepare(
        self,
        clip: "Clip",
        prompt: str,
        *,
        negative_prompt: str = "",
        prefix_frames: int | None = None,
        window: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> LTX2Conditioning:
        """Encode a clip and its prompts once.

        The audio is frozen. Without any, its latent is zero and it is generated together with
        the video; `synthesise_audio` and `LTX2Conditioning.with_audio` give it one to freeze.

        Args:
            clip: H and W multiples of `spatial_multiple`, s * k + 1 frames.
            prompt: what the edit shall show.
            negative_prompt: what guidance pushes away from.
            prefix_frames: K frames to keep, of which floor((K - 1) / s) + 1 latent frames
                come; or else
            window: seconds to regenerate, start and end.
            seed: of the noise.

        Raises:
            SparksError: if the clip does not fit, or nothing or not one region is chosen.
        """
        num_frames, fps = self._check_size(clip), float(clip.fps)
        latent = self._encode_video(clip.frames)
        _, _, frames, height, width = latent.shape
        frame_mask = self._frame_mask(frames, num_frames, fps, prefix_frames, window)
        kept = int((frame_mask.cumsum(0) == 0).sum())
        alpha_0 = self._encode_audio(clip)
        video_latent, audio_latent = pack_video(latent), pack_audio(alpha_0)
        noise_video, noise_audio = draw_noise(seed, video_latent, audio_latent)
        frozen = torch.zeros(1, audio_latent.shape[1], 1, device=self.device)
        v_p, a_p = self.texts.encode(prompt)
        v_n, a_n = self.texts.encode(negative_prompt)
        return LTX2Conditioning(
            video_latent=video_latent,
            video_mask=frame_mask.repeat_interleave(height * width)[None, :, None].to(self.device),
            alpha_0=alpha_0,
            audio_mask=frozen if clip.waveform is not None else torch.ones_like(frozen),
            v_p=v_p,
            a_p=a_p,
            v_n=v_n,
            a_n=a_n,
            noise_video=noise_video,
            noise_audio=noise_audio,
            latent_shape=(frames, height, width),
            fps=fps,
            num_frames=num_frames,
            prefix_latents=kept,
            prefix_frames_kept=self.temporal_compression * (kept - 1) + 1 if kept else 0,
            prompt=prompt,
            seed=seed,
            silence=self._encode_audio(_muted(clip, self.audio_vae.config.in_channels)),
        )

    def start(self, conditioning: LTX2Conditioning) -> Controls:
        """The untuned controls in float32: alpha_0 and a residual of zero."""
        alpha, residual = conditioning.alpha_0.float(), torch.zeros_like(conditioning.v_p).float()
        return Controls(alpha.clone(), residual)

    def render(
        self,
        conditioning: LTX2Conditioning,
        controls: Controls,
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        gradient: bool = False,
    ) -> Tensor:
        """Retake a batch of candidates.

        Args:
            conditioning: shared by the batch.
            controls: alpha `[B, Ca, L, M]` and delta_v `[B, T, Dv]`.
            sampling: schedule and extent of the graph.
            guidance: none by default, one forward per step.
            gradient: make the frames differentiable with respect to the controls.

        Returns:
            float32 frames `[B, T, 3, H, W]` in [0, 1]; no gradient passes where they saturate.

        Raises:
            SparksError: if the controls are not of this conditioning's shapes.
        """
        _check_controls(conditioning, controls)
        self._set_checkpointing(conditioning, controls.batch, sampling)
        with torch.set_grad_enabled(gradient):
            tokens, _ = sample(
                self.runner,
                conditioning,
                controls,
                sampling=sampling,
                guidance=guidance,
                gradient=gradient,
                counter=self.counter,
                prefix=self._prefixes.of(conditioning),
            )
            return self.decode_video(unpack_video(tokens, conditioning.latent_shape))

    def decode_video(self, latent: Tensor) -> Tensor:
        """Frames `[B, T, 3, H, W]` in [0, 1] of normalised latents `[B, C, F, H', W']`."""
        mean, std = self._video_statistics()
        latent = latent / self.vae.config.scaling_factor * std + mean
        pixels = decode(self.vae, latent.to(self.dtype), self.levers)
        return ((pixels.float() + 1) / 2).clamp(0, 1).transpose(1, 2)

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

    def free_text_encoder(self) -> None:
        """Let the text encoder go; encoded prompts stay."""
        self.texts.free()

    @cached_property
    def _vocoder(self) -> Any:
        return self._load("vocoder") if "vocoder" in self.source else None

    def _load(self, name: str) -> Any:
        return self.source.load_frozen(name, self.device, self.dtype)

    def _set_checkpointing(
        self, conditioning: LTX2Conditioning, batch: int, sampling: Sampling
    ) -> None:
        tokens = batch * conditioning.video_latent.shape[1]
        steps = min(sampling.grad_steps, len(sampling.sigmas) - 1)
        stored = self.storage != "resident"
        self.runner.checkpoint(sampling.checkpointing or stored, steps, tokens, keep=not stored)
        wanted = self.levers.decoder_checkpointing
        if wanted is None:
            pixels = batch * conditioning.num_frames * math.prod(conditioning.latent_shape[1:])
            needed = pixels * self.spatial_multiple**2 * BYTES_PER_PIXEL
            wanted = sampling.checkpointing and needed > free_memory(self.device) / 2
        checkpoint_decoder(self.vae.decoder, wanted)

    def _check_size(self, clip: "Clip") -> int:
        frames, _, height, width = clip.frames.shape
        multiple, s = self.spatial_multiple, self.temporal_compression
        if height % multiple or width % multiple:
            raise SparksError(
                f"clip is {width}x{height}; both must be multiples of {multiple}, fit it first"
            )
        if frames % s != 1 % s:
            fitting = (frames - 1) // s * s + 1
            raise SparksError(f"clip has {frames} frames, not {s}k+1; cut it to {fitting}")
        return int(frames)

    def _frame_mask(
        self,
        latent_frames: int,
        num_frames: int,
        fps: float,
        prefix_frames: int | None,
        window: tuple[float, float] | None,
    ) -> Tensor:
        """`[F]` mask of the region to regenerate, checked to be one and not empty."""
        if prefix_frames is not None and window is None:
            if not 0 <= prefix_frames < num_frames:
                raise SparksError(
                    f"prefix_frames is {prefix_frames}; choose 0 to {num_frames - 1}, "
                    f"the clip has {num_frames} frames"
                )
            kept = preserved_latents(prefix_frames, self.temporal_compression)
            return prefix_mask(latent_frames, kept)
        if window is None or prefix_frames is not None:
            raise SparksError("give one of prefix_frames and window: the region to regenerate")
        start, end = window
        mask = video_window_mask(latent_frames, window, fps, self.temporal_compression)
        if not (0 <= start < end and mask.any()):
            raise SparksError(
                f"window {start}:{end} holds no frame; the clip lasts {num_frames / fps:.2f} s"
            )
        return mask

    def _encode_video(self, frames: Tensor) -> Tensor:
        """Normalised latent `[1, C, F, H', W']` of frames `[T, 3, H, W]` in [0, 1]."""
        pixels = (frames * 2 - 1).transpose(0, 1)[None].to(self.device, self.dtype)
        latent = self.vae.encode(pixels).latent_dist.mode()
        mean, std = self._video_statistics()
        return (latent - mean) * self.vae.config.scaling_factor / std

    def _video_statistics(self) -> tuple[Tensor, Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.vae.latents_mean.view(shape), self.vae.latents_std.view(shape)

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


def _check_controls(conditioning: LTX2Conditioning, controls: Controls) -> None:
    pairs = {
        "alpha": (controls.alpha, conditioning.alpha_0),
        "delta_v": (controls.delta_v, conditioning.v_p),
    }
    for name, (given, like) in pairs.items():
        if given.shape[1:] != like.shape[1:]:
            raise SparksError(
                f"{name} has shape {list(given.shape[1:])} but this clip needs "
                f"{list(like.shape[1:])}; use controls made for a clip of the same length"
            )
