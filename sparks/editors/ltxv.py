"""LTX-Video as a differentiable function of a residual on its T5 context; it has no audio."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import torch
from pydantic import Field
from torch import Tensor

from sparks.editors.conditioning import draw_noise, unpack_video
from sparks.editors.controls import Controls
from sparks.editors.footprint import Storage
from sparks.editors.guidance import Guidance
from sparks.editors.levers import Levers
from sparks.editors.loading import ModelSource
from sparks.editors.ltxv_denoiser import LTXVConditioning, LTXVDenoiser, video_coordinates
from sparks.editors.runner import Runner
from sparks.editors.sampler import denoise
from sparks.editors.schedule import Sampling
from sparks.editors.text import T5Contexts
from sparks.editors.video import VideoEditor
from sparks.errors import SparksError

if TYPE_CHECKING:
    from sparks.media.clip import Clip

_Share = Annotated[float, Field(ge=0, lt=1)]


class LTXVEditor(VideoEditor[LTXVConditioning]):
    """Frozen LTX-Video model that edits a clip under a residual on its text context.

    Kept frames are conditions: clean tokens with noise level 0, as the model was trained to take
    them. `Controls.alpha` is empty, `[B, 0, 0, 0]`.
    """

    has_audio = False
    defaults: Mapping[str, Any] = {
        "sampling": {"schedule": "linear_quadratic"},
        "guidance": {"final": {"video": {"guidance_scale": 3.0}}},
    }
    required = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
    denoiser = "LTXVideoTransformer3DModel"

    def __init__(
        self,
        model: str | Path | ModelSource,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        levers: Levers = Levers(),
        storage: Storage = "resident",
        text_device: str | None = None,
        text_tokens: Annotated[int, Field(ge=1)] = 256,
        decode_timestep: _Share = 0.05,
        decode_noise_scale: _Share = 0.025,
    ) -> None:
        """Find a model and load its codec; the other networks follow when first needed.

        Args:
            model: diffusers-format folder or hub id; or where else networks come from.
            device: the GPU if there is one, by default.
            dtype: of weights and latents; bfloat16 on a GPU and float32 elsewhere by default.
            levers: speed and memory of the denoiser and the decoder.
            storage: of the denoiser, see `sparks.editors.storage`.
            text_device: where prompts are encoded, `device` if None.
            text_tokens: that a prompt may have, and every context has.
            decode_timestep: noise level announced to the decoder, if it takes one (since 0.9.1).
            decode_noise_scale: share of noise in what such a decoder is given.

        Raises:
            SparksError: the model cannot be found or read, is another's, or a number is out of
                range.
        """
        for name, value in (("timestep", decode_timestep), ("noise_scale", decode_noise_scale)):
            if not 0 <= value < 1:
                raise SparksError(f"decode_{name} is {value}; it must be 0 or more and below 1")
        if text_tokens < 1:
            raise SparksError(f"text_tokens is {text_tokens}; it must be 1 or more")
        self.text_tokens = text_tokens
        self.decode_timestep, self.decode_noise_scale = decode_timestep, decode_noise_scale
        super().__init__(
            model, device, dtype, levers=levers, storage=storage, text_device=text_device
        )
        # Models since 0.9.5 do not shift by size, and count the first latent frame as one frame.
        self.causal = not self.source.load("scheduler").config.use_dynamic_shifting

    @cached_property
    def runner(self) -> Runner:
        """What calls the denoiser."""
        return Runner(self.transformer, self.levers)

    def _condition(
        self, clip: "Clip", video: dict[str, Any], prompt: str, negative_prompt: str, seed: int
    ) -> LTXVConditioning:
        """The clip's sound is passed over."""
        shape = video["latent_shape"]
        tokens = video["video_latent"]
        noise_video, noise_decoder = draw_noise(seed, tokens, unpack_video(tokens, shape))
        v_p, mask_p = self.texts.encode(prompt)
        v_n, mask_n = self.texts.encode(negative_prompt)
        compression = (self.temporal_compression, self.spatial_multiple)
        return LTXVConditioning(
            **video,
            v_p=v_p,
            v_n=v_n,
            mask_p=mask_p,
            mask_n=mask_n,
            coords=video_coordinates(shape, compression, video["fps"], causal=self.causal),
            noise_video=noise_video,
            noise_decoder=noise_decoder,
            prompt=prompt,
            seed=seed,
        )

    def start(self, conditioning: LTXVConditioning) -> Controls:
        """The untuned controls in float32: no alpha, and a residual of zero."""
        residual = torch.zeros_like(conditioning.v_p).float()
        return Controls(residual.new_zeros(1, 0, 0, 0), residual)

    def synthesise_audio(self, *_: Any, **__: Any) -> NoReturn:
        """There is no audio.

        Raises:
            SparksError: always.
        """
        raise SparksError("LTX-Video has no audio to synthesise; give the clip a sound, or none")

    def decode_audio(self, alpha: Tensor) -> NoReturn:
        """There is no audio.

        Raises:
            SparksError: always.
        """
        raise SparksError("LTX-Video has no audio to decode; keep the source's with sound=source")

    def _texts(self, runs_on: torch.device | None) -> T5Contexts:
        return T5Contexts(self.source, self.device, self.dtype, runs_on, length=self.text_tokens)

    def _sample(
        self,
        conditioning: LTXVConditioning,
        controls: Controls,
        sampling: Sampling,
        guidance: Guidance,
        gradient: bool,
    ) -> Tensor:
        sampling = sampling if gradient else sampling.exact
        denoiser = LTXVDenoiser(
            self.runner, conditioning, controls, sampling, guidance, self.counter
        )
        prefix = self._prefixes.of(conditioning)
        return denoise(denoiser, gradient=gradient, prefix=prefix)[0]

    def _decode(self, conditioning: LTXVConditioning, latent: Tensor) -> Tensor:
        with _repeatable(self.device):
            if not self.vae.config.timestep_conditioning:
                return self.codec.decode(latent)
            # Mixed in as in LTX-Video: normalised, where diffusers mixes after the statistics.
            noise = conditioning.noise_decoder.to(latent)
            mixed = latent * (1 - self.decode_noise_scale) + noise * self.decode_noise_scale
            return self.codec.decode(mixed, self.decode_timestep)


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """Some decoders (0.9.1) draw noise of their own; inside, it is the same each time."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        yield
