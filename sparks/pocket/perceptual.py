"""A small perceptual trunk for `lpips.LPIPS`, trained on the pocket world instead of ImageNet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sparks.errors import SparksError
from sparks.models.whole import check_numbers, readable

if TYPE_CHECKING:
    import lpips

CHANNELS = (24, 48, 64, 64)
WEIGHTS = "trunk.safetensors"


class Trunk(nn.Module):
    """Four convolutions, each halving the size; `forward` returns all their activations."""

    def __init__(self) -> None:
        super().__init__()
        sizes = zip((3, *CHANNELS[:-1]), CHANNELS, strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.GELU()) for i, o in sizes
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self._activations(images))

    def _activations(self, images: Tensor) -> Iterator[Tensor]:
        for stage in self.stages:
            images = stage(images)
            yield images


def save_trunk(trunk: Trunk, folder: Path) -> None:
    """Write the weights as float16 safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous().cpu() for name, value in trunk.state_dict().items()}
    save_file(weights, folder / WEIGHTS)


def load_perceptual(folder: str | Path) -> lpips.LPIPS:
    """The frozen LPIPS distance over the trunk in `folder`, of images `[N, 3, H, W]` in [-1, 1].

    The trunk has no linear heads; as in LPIPS's own baseline, the squared differences of its
    normalised activations are summed over channels.

    Raises:
        SparksError: the folder holds no trunk.
    """
    import lpips

    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise SparksError(f"perceptual trunk {path} not found: give a model folder that has one")
    trunk = Trunk()
    with readable(path, "the perceptual trunk"):
        trunk.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    check_numbers(trunk, path, "the perceptual trunk")
    with torch.random.fork_rng(devices=[]):  # the replaced trunk must not disturb anyone's seed
        distance = lpips.LPIPS(
            net="squeeze", lpips=False, pretrained=False, pnet_rand=True, verbose=False
        )
    distance.net, distance.chns, distance.L = trunk, list(CHANNELS), len(CHANNELS)
    return distance.eval().requires_grad_(False)
