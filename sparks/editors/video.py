"""What editors have in common that denoise the latent of a video codec under a text context."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from sparks.editors.codec import VideoCodec
from sparks.editors.conditioning import VideoConditioning, pack_video, unpack_video
from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.levers import Levers
from sparks.editors.loading import ModelFolder, ModelSource
from sparks.editors.runner import Runner
from sparks.editors.sampler import Counter, Prefixes
from sparks.editors.schedule import Sampling
from sparks.editors.storage import check_storage, store
from sparks.editors.text import TextContexts
from sparks.errors import SparksError
from sparks.models.machine import check_device

if TYPE_CHECKING:
    from sparks.editors.controls import Controls
    from sparks.media.clip import Clip

C = TypeVar("C", bound=VideoConditioning)


class VideoEditor(ABC, Generic[C]):
    """Loads, encodes, decodes and counts; a subclass knows its denoiser and what that is told.

    Attributes:
        source: where the networks come from; `folder` is its folder, None if it has none.
        codec: the frozen video autoencoder.
        texts: prompts to contexts.
        has_audio, defaults: see `sparks.editors.base.Editor`.
    """

    has_audio: bool = True
    defaults: Mapping[str, Any] = {}
    required: ClassVar[tuple[str, ...]]  # components of a model folder
    denoiser: ClassVar[str]  # class of its transformer

    def __init__(
        self,
        model: str | Path | ModelSource,
        device: str | torch.device | None,
        dtype: torch.dtype | None,
        *,
        levers: Levers,
        storage: str,
        text_device: str | None,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = dtype or (torch.bfloat16 if self.device.type == "cuda" else torch.float32)
        self.source: ModelSource = (
            ModelFolder(model, self.required, self.denoiser)
            if isinstance(model, str | Path)
            else model
        )
        self.folder = self.source.path
        check_storage(storage, levers)
        check_device(text_device)
        self.levers, self.storage = levers, storage
        self.texts = self._texts(None if text_device is None else torch.device(text_device))
        self.codec = VideoCodec(self._load("vae"), levers, self.device, self.dtype)
        self.counter, self._prefixes = Counter(), Prefixes()

    @abstractmethod
    def _texts(self, runs_on: torch.device | None) -> TextContexts:
        """What encodes prompts."""

    @abstractmethod
    def _sample(
        self,
        conditioning: C,
        controls: "Controls",
        sampling: Sampling,
        guidance: Guidance,
        gradient: bool,
    ) -> Tensor:
        """Denoised video tokens `[B, N, C]`."""

    @property
    def vae(self) -> Any:
        """The frozen video autoencoder."""
        return self.codec.vae

    @cached_property
    def transformer(self) -> Any:
        """The denoiser, in the text encoder's place if that is still loaded."""
        self.texts.free()
        if self.storage == "resident":
            return self._load("transformer")
        network = self.source.load_frozen("transformer", torch.device("cpu"), self.dtype)
        store(network, self.storage, self.device)
        return network

    @property
    @abstractmethod
    def runner(self) -> Runner:
        """What calls the denoiser, made when first needed."""

    @property
    def spatial_multiple(self) -> int:
        """Height and width of a clip must be multiples of this."""
        return self.codec.spatial_multiple

    @property
    def temporal_compression(self) -> int:
        """s: a clip must have s * k + 1 frames."""
        return self.codec.temporal_compression

    @property
    def forwards(self) -> int:
        """Denoiser forwards so far, summed over batch items."""
        return self.counter.forwards

    @property
    def backwards(self) -> int:
        """Denoiser backwards so far, summed over batch items."""
        return self.counter.backwards

    def render(
        self,
        conditioning: C,
        controls: "Controls",
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        gradient: bool = False,
    ) -> Tensor:
        """Render a batch of candidates.

        Args:
            conditioning: shared by the batch.
            controls: of the shapes that `start` gives.
            sampling: schedule and extent of the graph.
            guidance: none by default, one forward per step.
            gradient: make the frames differentiable with respect to the controls.

        Returns:
            float32 frames `[B, T, 3, H, W]` in [0, 1]; no gradient passes where they saturate.

        Raises:
            SparksError: if the controls are not of this conditioning's shapes.
        """
        _check_controls(self.start(conditioning), controls)
        if gradient:
            self._set_checkpointing(conditioning, controls.batch, sampling)
        with torch.set_grad_enabled(gradient):
            tokens = self._sample(conditioning, controls, sampling, guidance, gradient)
            return self._decode(conditioning, unpack_video(tokens, conditioning.latent_shape))

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
    ) -> C:
        """Encode a clip and its prompts once.

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
        video = self._video(clip, prefix_frames, window)
        return self._condition(clip, video, prompt, negative_prompt, seed)

    @abstractmethod
    def _condition(
        self, clip: "Clip", video: dict[str, Any], prompt: str, negative_prompt: str, seed: int
    ) -> C:
        """All fields of a conditioning, those of `_video` among them."""

    @abstractmethod
    def start(self, conditioning: C) -> "Controls":
        """The untuned controls, in float32."""

    def free_text_encoder(self) -> None:
        """Let the text encoder go; encoded prompts stay."""
        self.texts.free()

    def _decode(self, conditioning: C, latent: Tensor) -> Tensor:
        """Frames of normalised latents `[B, C, F, H', W']`."""
        return self.codec.decode(latent)

    def _load(self, name: str) -> Any:
        return self.source.load_frozen(name, self.device, self.dtype)

    def _video(
        self, clip: "Clip", prefix_frames: int | None, window: tuple[float, float] | None
    ) -> dict[str, Any]:
        """The fields of `VideoConditioning` that the clip and what is kept of it decide."""
        self.codec.check_size(clip)
        latent = self.codec.encode(clip.frames)
        _, _, frames, height, width = latent.shape
        region = self.codec.region(clip, frames, prefix_frames, window)
        latents_kept = int((region.cumsum(0) == 0).sum())
        return {
            "video_latent": pack_video(latent),
            "video_mask": region.repeat_interleave(height * width)[None, :, None].to(self.device),
            "latent_shape": (frames, height, width),
            "fps": float(clip.fps),
            "num_frames": len(clip.frames),
            "prefix_latents": latents_kept,
            "prefix_frames_kept": self.temporal_compression * (latents_kept - 1) + 1
            if latents_kept
            else 0,
        }

    def _set_checkpointing(
        self, conditioning: VideoConditioning, batch: int, sampling: Sampling
    ) -> None:
        tokens = batch * conditioning.video_latent.shape[1]
        steps = min(sampling.grad_steps, len(sampling.sigmas) - 1)
        stored = self.storage != "resident"
        self.runner.checkpoint(sampling.checkpointing or stored, steps, tokens, keep=not stored)
        shape = conditioning.latent_shape
        self.codec.checkpoint(sampling.checkpointing, batch, conditioning.num_frames, shape)


def _check_controls(start: "Controls", controls: "Controls") -> None:
    for name, like in vars(start).items():
        given = getattr(controls, name)
        if given.shape[1:] != like.shape[1:]:
            raise SparksError(
                f"{name} has shape {list(given.shape[1:])} but this clip needs "
                f"{list(like.shape[1:])}; use controls made for a clip of the same length"
            )
