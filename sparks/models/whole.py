"""Networks of diffusers and transformers from a folder, whole or not at all.

Both libraries fill what a folder lacks with random numbers and say so in a warning at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparks.errors import SparksError
from sparks.files import read_json
from sparks.models.memory import is_out_of_memory
from sparks.models.quiet import quiet_libraries

_SMALL = 2**30  # bytes of weights that are read to look at them
_WAY_OUT = "fetch the folder again"


def load_network(kind: Any, source: Path | str, label: str, **options: Any) -> Any:
    """`kind.from_pretrained(source, **options)` with every weight from the folder.

    Args:
        kind: a model class of diffusers or transformers.
        source: its folder, or a hub id.
        label: what the folder holds, for people.

    Raises:
        SparksError: weights are missing, left over, of another shape or no numbers, or the files
            cannot be read.
    """
    with readable(source, label), quiet_libraries():
        network, told = kind.from_pretrained(
            source, output_loading_info=True, use_safetensors=True, **options
        )
    check_loaded(told, source, label)
    return network


@contextmanager
def readable(source: Path | str, label: str) -> Iterator[None]:
    """Inside, whatever the libraries raise about files becomes one line; memory errors stay.

    Raises:
        SparksError: naming the files, and what was found wrong with them.
    """
    try:
        yield
    except SparksError:
        raise
    except Exception as error:  # parsers of weights, settings and templates fail in many ways
        if is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SparksError(f"cannot load {label} from {source}: {lines[0][:300]}") from error


def check_loaded(told: Mapping[str, Any], source: Path | str, label: str) -> None:
    """See that the weights of a folder were the network's own, all of them and no others.

    Args:
        told: the loading info of either library.

    Raises:
        SparksError: naming how many are not, and the first.
    """
    for what in ("missing", "unexpected", "mismatched"):
        if keys := sorted(_name(key) for key in told.get(f"{what}_keys") or ()):
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise SparksError(
                f"{label} in {source} is not whole: {what} weights {keys[0]}{more}; {_WAY_OUT}"
            )


def check_networks(folder: Path) -> None:
    """See that every network in a folder, or the one that it holds itself, is whole.

    Small ones are read; of large ones the names and shapes of their weights are compared, without
    reading them.

    Raises:
        SparksError: the first that is not.
    """
    for config in sorted([*folder.glob("config.json"), *folder.glob("*/config.json")]):
        label = config.parent.name if config.parent != folder else "the model"
        kind = _class_of(config)
        if kind is None or not any(config.parent.glob("*.safetensors")):
            continue
        size = sum(file.stat().st_size for file in config.parent.glob("*.safetensors"))
        place = {} if size < _SMALL else {"device_map": "meta"}
        network = load_network(kind, config.parent, label, local_files_only=True, **place)
        check_numbers(network, config.parent, label)


def class_named(name: str) -> Any:
    """The class of that name in one of the libraries, None if there is none."""
    for module in ("diffusers", "diffusers.pipelines.ltx2", "transformers"):
        named = getattr(import_module(module), name, None)
        if named is not None:
            return named
    return None


def _class_of(config: Path) -> Any:
    with readable(config, "the settings of a network"):
        told = read_json(config)
        return class_named(told.get("_class_name") or (told.get("architectures") or [""])[0])


def check_numbers(network: nn.Module, source: Path | str, label: str) -> None:
    """See that every weight is a number.

    Raises:
        SparksError: naming the first that is not.
    """
    weights = {name: value for name, value in network.named_parameters() if not value.is_meta}
    if not weights:
        return
    # One wait for the device instead of one for each of thousands of weights.
    whole = torch.stack([value.isfinite().all() for value in weights.values()]).tolist()
    for name, good in zip(weights, whole, strict=True):
        if not good:
            raise SparksError(f"{label} in {source} has no numbers in {name}; {_WAY_OUT}")


def _name(key: Any) -> str:
    """Of a mismatched one the libraries give the shapes as well."""
    return key if isinstance(key, str) else str(key[0])
