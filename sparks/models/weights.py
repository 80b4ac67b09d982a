"""Where a model's weights are, and how many: found without loading or fetching anything."""

from __future__ import annotations

import contextlib
import json
import math
import re
from importlib import resources
from pathlib import Path

from sparks.errors import SparksError
from sparks.files import read_json

BUNDLED = "pocket"  # the name of the model in this package

#: Parameters of published models by hub id and component, for planning before they are fetched.
_QWEN = {
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
}
_EDITORS = {
    "diffusers/LTX-2.3-Diffusers": "LTX_23",
    "diffusers/LTX-2.3-Distilled-Diffusers": "LTX_23",
    "Lightricks/LTX-2": "LTX_2",
}
#: Files of a network in a repository of its own, and of a folder of several beside theirs.
_NETWORK = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]
_FOLDER = [
    "model_index.json",
    "sparks.yaml",
    *(f"{n}/*" for n in ("perceptual", "critic", "judge")),
]
KNOWN_EDITORS, KNOWN_CRITICS = tuple(_EDITORS), tuple(_QWEN)


def weights_path() -> Path:
    """The bundled model's folder, in diffusers format; its critics stand beside the parts."""
    return Path(str(resources.files("sparks") / "pocket" / "weights"))


def find(model: str | Path) -> Path | None:
    """Folder of a model on this machine: a path, BUNDLED, or a hub id in the cache; else None."""
    if model == BUNDLED:
        return weights_path()
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # what can be no path, or no ~
        if (path := Path(model).expanduser()).is_dir():
            return path
    return _cached(str(model)) if is_hub_id(str(model)) else None


def is_hub_id(model: str) -> bool:
    """Whether `model` has the form owner/name."""
    return bool(re.fullmatch(r"\w[\w.-]*/[\w.-]+", model))


def fetch(model: str) -> Path:
    """Folder of a hub id's files on this machine, fetched if they are not there yet.

    Raises:
        SparksError: they are not there and cannot be fetched.
    """
    folder = find(model)
    if folder is not None:
        return folder
    try:
        return _snapshot(model, local=False)
    except Exception as error:  # the hub client raises a family of network and lookup errors
        raise SparksError(
            f"model {model!r} is not on this machine and cannot be fetched "
            f"({type(error).__name__}); give a folder, or fetch it where there is a network"
        ) from error


def _cached(hub_id: str) -> Path | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _snapshot(hub_id, local=True)
    except (LocalEntryNotFoundError, RuntimeError):  # the latter without a home to have it in
        return None


def _snapshot(hub_id: str, *, local: bool) -> Path:
    """The files that are read of a repository, and no others: some hold the weights twice."""
    from huggingface_hub import snapshot_download

    def files(patterns: list[str]) -> Path:
        return Path(snapshot_download(hub_id, allow_patterns=patterns, local_files_only=local))

    index = files(["model_index.json"]) / "model_index.json"
    if not index.is_file():
        return files(_NETWORK)
    parts = read_json(index)
    return files([*_FOLDER, *(f"{name}/*" for name in parts if not name.startswith("_"))])


def parameters(model: str | Path) -> dict[str, int]:
    """How many parameters each component has; the component of a bare network is called `""`.

    Empty where the model is neither here nor a published one.
    """
    folder = find(model)
    if folder is not None and (counts := counted(folder)):
        return counts
    if str(model) in _QWEN:
        return {"": _QWEN[str(model)]}
    if str(model) in _EDITORS:
        from sparks.models import published

        table = getattr(published, _EDITORS[str(model)])
        return {name: component.parameters for name, component in table.items()}
    return {}


def counted(folder: Path) -> dict[str, int]:
    """As `parameters`, of a folder.

    Raises:
        SparksError: see `count_parameters`.
    """
    places = {"": folder} | {each.name: each for each in sorted(folder.iterdir()) if each.is_dir()}
    counts = {name: count_parameters(place) for name, place in places.items()}
    return {name: count for name, count in counts.items() if count}


def count_parameters(folder: Path) -> int:
    """Numbers in the safetensors files of a folder, read off their headers.

    Raises:
        SparksError: a file that is none of that format, as a half-fetched one.
    """
    return sum(_numbers_in(file) for file in sorted(folder.glob("*.safetensors")))


def _numbers_in(file: Path) -> int:
    try:
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
        raise SparksError(f"{file} is no whole safetensors file; fetch it again") from error


def is_full_size(model: str | Path) -> bool:
    """Whether a model has a thousand million parameters or more, as far as is known."""
    return sum(parameters(model).values()) >= 10**9
