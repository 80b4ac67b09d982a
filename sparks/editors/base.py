"""What the rest of the program asks of an editor."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.schedule import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from sparks.editors.conditioning import Conditioning
    from sparks.editors.controls import Controls
    from sparks.media.clip import Clip


C = TypeVar("C", bound="Conditioning")  # an editor renders what it has prepared itself


@runtime_checkable
class Editor(Protocol[C]):
    """A frozen video generator, with audio or without, that edits a clip under tuned controls.

    One whose class takes `model` is run with what that model's `sparks.yaml` recommends.

    Attributes:
        folder: where its networks come from, None for one that reads no model folder.
        has_audio: of the class: whether it renders under an audio latent. Without one `alpha` is
            empty, `[B, 0, 0, 0]`, only the text can be tuned, the last two methods are not called,
            and edited videos keep the source's sound.
        settle: decides how its networks are run, called with the conditioning, the sampling and
            what an earlier process of the same run had decided; gives what is on record. None
            where there is nothing to decide.
        defaults: of the class: settings that its models are run with where neither the model nor
            the user says otherwise.
    """

    folder: Path | None = None
    has_audio: bool = True
    settle: Callable[..., dict[str, Any]] | None = None
    defaults: Mapping[str, Any] = {}

    @property
    def spatial_multiple(self) -> int:
        """Height and width of a clip must be multiples of this."""

    @property
    def temporal_compression(self) -> int:
        """s: a clip must have s * k + 1 frames."""

    @property
    def forwards(self) -> int:
        """Denoiser forwards so far, summed over batch items."""

    @property
    def backwards(self) -> int:
        """Denoiser backwards so far, summed over batch items."""

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
        """Encode clip and prompts once; regenerate after K frames, or inside the window."""

    def start(self, conditioning: C) -> "Controls":
        """The untuned controls: the source's audio latent, if any, and no text residual."""

    def render(
        self,
        conditioning: C,
        controls: "Controls",
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        gradient: bool = False,
    ) -> "Tensor":
        """Frames `[B, T, 3, H, W]` in [0, 1] of every candidate in the batch."""

    def free_text_encoder(self) -> None:
        """Let the text encoder go; encoded prompts stay."""

    def synthesise_audio(
        self,
        clip: "Clip",
        prompt: str,
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        negative_prompt: str = "",
        seed: int = 0,
    ) -> "Tensor":
        """Audio latent `[1, Ca, L, M]` that the editor imagines for a silent clip."""

    def decode_audio(self, alpha: "Tensor") -> tuple["Tensor", int]:
        """Waveform `[C, N]` of an audio latent, and its sample rate."""
