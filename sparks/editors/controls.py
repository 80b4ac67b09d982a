"""The two tensors that are searched at test time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.files import replacing

FORMAT = "sparks.controls/1"


@dataclass(frozen=True)
class Controls:
    """What an edit is tuned by, for a batch of candidates.

    Attributes:
        alpha: `[B, C, T_a, M]` normalised audio latent: channels, audio frames, mel bins;
            `[B, 0, 0, 0]` for an editor without audio.
        delta_v: `[B, L, D]` residual on the video text context: positions, width.

    Examples:
        >>> controls = Controls(alpha=torch.ones(1, 2, 50, 16), delta_v=torch.zeros(1, 16, 64))
        >>> controls.batch
        1
    """

    alpha: Tensor
    delta_v: Tensor

    @property
    def batch(self) -> int:
        """Number of candidates B."""
        return len(self.alpha)

    @property
    def has_audio(self) -> bool:
        """Whether alpha has elements."""
        return self.alpha[:1].numel() > 0

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Controls":
        """The same controls elsewhere or in another precision."""
        return Controls(self.alpha.to(device, dtype), self.delta_v.to(device, dtype))

    def detach(self) -> "Controls":
        """The same values outside any graph."""
        return Controls(self.alpha.detach(), self.delta_v.detach())


def save_controls(path: str | Path, controls: Controls, metadata: Mapping[str, str]) -> None:
    """Write safetensors with `alpha`, `delta_v` and string metadata, in one step.

    Examples:
        >>> controls = Controls(alpha=torch.ones(1, 2, 50, 16), delta_v=torch.zeros(1, 16, 64))
        >>> save_controls("mine.safetensors", controls, {"made": "by hand"})
        >>> torch.equal(load_controls("mine.safetensors").alpha, controls.alpha)
        True
    """
    from safetensors.torch import save

    tensors = {"alpha": controls.alpha, "delta_v": controls.delta_v}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {"format": FORMAT, **metadata}))


def load_controls(path: str | Path) -> Controls:
    """Read what `save_controls` wrote.

    Raises:
        SparksError: there is no such file, or it holds something else.
    """
    tensors = _read(path)[0]
    forms = {name: value.ndim for name, value in tensors.items() if value.is_floating_point()}
    whole = all(bool(value.isfinite().all()) for value in tensors.values())
    if forms != {"alpha": 4, "delta_v": 3} or len({len(each) for each in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items())
        raise SparksError(f"{path} holds {shapes or 'nothing'}, which are no controls")
    if not whole:
        raise SparksError(f"{path} holds values that are no number; use another run's controls")
    return Controls(**tensors)


def controls_metadata(path: str | Path) -> dict[str, str]:
    """The metadata `save_controls` was given.

    Raises:
        SparksError: there is no such file, or it holds something else.
    """
    return _read(path)[1]


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SparksError(f"cannot read controls from {path} ({error}); check the file") from error
    if metadata.pop("format", None) != FORMAT:
        raise SparksError(f"{path} holds no controls; give a file written as {FORMAT}")
    return tensors, metadata
