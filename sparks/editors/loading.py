"""Components of a diffusers-format model folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from sparks.errors import SparksError, shorten
from sparks.files import read_json
from sparks.models.weights import BUNDLED, fetch, find, is_hub_id
from sparks.models.whole import check_numbers, class_named, load_network, readable


@runtime_checkable
class ModelSource(Protocol):
    """Where an editor's networks come from."""

    @property
    def path(self) -> Path | None:
        """The folder, None for what has none."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a component of this name."""

    def load(self, name: str, **options: Any) -> Any:
        """The component."""

    def load_frozen(self, name: str, device: torch.device, dtype: torch.dtype) -> Any:
        """The network in evaluation mode, on the device, without parameter gradients."""


class ModelFolder:
    """A local folder with a `model_index.json` and one subfolder per component."""

    def __init__(
        self, model: str | Path, required: Sequence[str] = ("transformer",), denoiser: str = ""
    ) -> None:
        """Find the folder of `model`.

        Args:
            model: a folder, a hub id (fetched into the hub's cache), or BUNDLED.
            required: components that it must have.
            denoiser: the class that its transformer must be of, any if empty.

        Raises:
            SparksError: there is no such model, a component is missing, or it is of another kind.
        """
        # Components are loaded when first needed, wherever the process is by then.
        self.path: Path = _resolve(model).absolute()
        self.index = _read_index(self.path / "model_index.json")
        kind = self.index["transformer"][1] if "transformer" in self else None
        if denoiser and kind not in (None, denoiser):
            _class_named(kind)
            raise SparksError(
                f"model {str(model)!r} has a {kind}, and this editor runs a {denoiser}; choose "
                "another with --set editor.name=..., or another model"
            )
        missing = [name for name in required if name not in self]
        if missing:
            raise SparksError(f"model {str(model)!r} lacks {', '.join(missing)}; use a full folder")
        network = _class_named(self.index["transformer"][1])
        # Loaded last, when much has been done already: its names and shapes are compared now.
        load_network(network, self.path / "transformer", "transformer", device_map="meta")

    def __contains__(self, name: str) -> bool:
        entry = self.index.get(name)
        named = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
        return named and (self.path / name).is_dir()

    def load(self, name: str, **options: Any) -> Any:
        """Component `name`, as the class that the index names.

        Raises:
            SparksError: if the class is unknown or its files cannot be read.
        """
        kind, source = _class_named(self.index[name][1]), self.path / name
        options["local_files_only"] = True
        if hasattr(kind, "named_parameters"):
            return load_network(kind, source, name, **options)
        with readable(source, name):
            return kind.from_pretrained(source, **options)

    def load_frozen(self, name: str, device: torch.device, dtype: torch.dtype) -> Any:
        """Network `name` in evaluation mode, on the device, without parameter gradients."""
        key = "dtype" if self.index[name][0] == "transformers" else "torch_dtype"
        network = self.load(name, **{key: dtype})
        network = network.to(device).eval().requires_grad_(False)
        check_numbers(network, self.path / name, name)
        return network


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = read_json(path)
    except (OSError, ValueError) as error:
        raise SparksError(f"cannot read {path} ({error}); give a whole model folder") from error
    if not isinstance(index, dict):
        raise SparksError(f"{path} holds no list of components; give a whole model folder")
    return index


def _resolve(model: str | Path) -> Path:
    path = fetch(str(model)) if is_hub_id(str(model)) else find(model)
    if path is None or not (path / "model_index.json").is_file():
        raise SparksError(
            f"no model at {shorten(str(model))!r}; give a folder with model_index.json, a hub id "
            f"or {BUNDLED!r}"
        )
    return path


def _class_named(name: str) -> Any:
    if (found := class_named(name)) is not None:
        return found
    raise SparksError(f"model_index.json names the class {name}, which is not installed")
