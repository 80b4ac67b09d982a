"""Whether settings suit a model, seen in its folder before anything is loaded."""

from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.files import read_json
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings, presets, read_settings


def check_suitable(config: Config, folder: Path, advice: Settings) -> None:
    """Refuse a size or guidance that the model in `folder` cannot be run with.

    Args:
        config: the whole settings.
        folder: of the model; what its networks do not say is not checked.
        advice: what its `sparks.yaml` recommends.

    Raises:
        SparksError: naming what does not suit, and the preset that does.
    """
    multiple, blocks = _multiple(folder), _network(folder, "transformer").get("num_layers")
    try:
        if multiple is not None and config.clip.size is not None:
            _check_size(*config.clip.size, multiple)
        if isinstance(blocks, int):
            config.guidance.tuning.check_blocks(blocks)
            config.guidance.final.check_blocks(blocks)
    except SparksError as error:
        raise SparksError(f"{error}{_own_settings(folder, advice)}") from None


def _check_size(height: int, width: int, multiple: int) -> None:
    if height % multiple or width % multiple:
        raise SparksError(
            f"size {width}x{height} does not fit this model: give clip.size [height, width] in "
            f"multiples of {multiple}"
        )


def _multiple(folder: Path) -> int | None:
    """Pixels that a side must be divisible by, as diffusers works it out."""
    vae = _network(folder, "vae")
    own, patch = vae.get("spatial_compression_ratio"), vae.get("patch_size")
    if own is None and isinstance(patch, int):
        halved = vae.get("spatio_temporal_scaling")
        own = patch * 2 ** sum(halved) if isinstance(halved, list) else None
    return own if isinstance(own, int) and own > 0 else None


def _network(folder: Path, name: str) -> dict[str, Any]:
    try:
        config = read_json(folder / name / "config.json")
    except (OSError, ValueError):
        return {}  # the editor says what is wrong with it
    return config if isinstance(config, dict) else {}


def _own_settings(folder: Path, advice: Settings) -> str:
    if not advice:
        return ""
    for name in presets():
        if read_settings(name) == advice:
            return f"; the preset of this model is {name}: --config {name}, after any other"
    return f"; {folder / 'sparks.yaml'} has what suits this model: leave other --config out"
