"""Maps of one render over its latent frames, rows and columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.editors.attention import AXES, Gathering
from sparks.errors import SparksError
from sparks.files import replacing

FORMAT = "sparks.attention/1"
MOST_SHOWN = 6  # blocks, steps, heads or moments; the file has all


@dataclass(frozen=True)
class Heat:
    """What was gathered of one render, as means.

    Attributes:
        words: of the prompt, in its order.
        frames: of the video.
        maps: `[n, F, H, W]` by "kind/axis": kinds as of `sparks.editors.attention.KINDS`, axes
            `all`, `block`, `step` and `head`; `words` (n in the order of the words) and `moments`
            (n audio frames).
    """

    words: tuple[str, ...]
    frames: int
    maps: dict[str, Tensor]

    @classmethod
    def of(
        cls, gathered: Gathering, words: Sequence[str], shape: tuple[int, int, int], frames: int
    ) -> Heat:
        """Laid out over the latent's frames, rows and columns."""
        flat = {
            f"{kind}/{axis}": means.along(axis)
            for kind, means in gathered.means.items()
            for axis in AXES
        }
        flat |= {"words": gathered.words, "moments": gathered.moments}
        return cls(tuple(words), frames, {k: v.unflatten(1, shape).cpu() for k, v in flat.items()})

    def mean(self, kind: str) -> Tensor:
        """`[F, H, W]` over all blocks, steps and heads."""
        return self.maps[f"{kind}/all"][0]

    def of_words(self, chosen: Sequence[str]) -> Tensor:
        """`[F, H, W]`: share of the attention that is on any of these words."""
        picks = [i for i, word in enumerate(self.words) if word in chosen]
        return self.maps["words"][picks].sum(0)

    def parts(self, split: str, kind: str, fps: float) -> dict[str, Tensor]:
        """Some maps `[F, H, W]` by label: of each word, or spread over what there are more of.

        Args:
            split: `word`, `moment`, `block`, `step` or `head`.
            kind: of KINDS, for the last three.
            fps: frames per second of the video; a moment of sound is told in seconds.
        """
        if split == "word":
            return dict(zip(self.words, self.maps["words"], strict=True))
        maps = self.maps["moments" if split == "moment" else f"{kind}/{split}"]
        picks = torch.linspace(0, len(maps) - 1, min(MOST_SHOWN, len(maps))).round().int().tolist()
        if split == "moment":
            seconds = self.frames / fps / len(maps)
            return {f"sound at {(i + 0.5) * seconds:.2f} s": maps[i] for i in picks}
        return {f"{kind}, {split} {i}": maps[i] for i in picks}


def save_heat(path: Path, heat: Heat) -> None:
    """Write safetensors with every map, and the words beside them."""
    from safetensors.torch import save

    metadata = {"format": FORMAT, "words": json.dumps(heat.words), "frames": str(heat.frames)}
    tensors = {name: value.contiguous() for name, value in heat.maps.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_heat(path: Path) -> Heat:
    """Read what `save_heat` wrote.

    Raises:
        SparksError: there is no such file, or it holds something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            maps = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SparksError(f"cannot read maps from {path} ({error}); check the file") from error
    if metadata.get("format") != FORMAT:
        raise SparksError(f"{path} holds no maps; give a file written as {FORMAT}")
    return Heat(tuple(json.loads(metadata["words"])), int(metadata["frames"]), maps)


def over_frames(heat: Tensor, num_frames: int, compression: int, size: tuple[int, int]) -> Tensor:
    """A map `[F, H, W]` at every pixel of every frame, `[T, h, w]`.

    The first latent frame is one frame, each other one `compression` frames.
    """
    frames = torch.arange(num_frames)
    latent = (frames + compression - 1).div(compression, rounding_mode="floor")
    spread = F.interpolate(heat[:, None].float(), size, mode="bilinear", align_corners=False)
    return spread[latent, 0]
