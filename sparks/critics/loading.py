"""Frozen models of transformers for the critics, from a folder or the hub, with errors told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparks.errors import SparksError, shorten
from sparks.models.weights import fetch, find, is_hub_id
from sparks.models.whole import check_numbers, load_network, readable


def load_parts(model: str, kind: str, example: str, **parts: dict[str, Any]) -> list[Any]:
    """The classes of transformers named by `parts`, each loaded from `model` with its options.

    Args:
        model: a folder written by `save_pretrained`, or a hub id.
        kind: the architecture that it must have.
        example: a hub id to name in errors.

    Raises:
        SparksError: no such model, another architecture, or files that cannot be read.
    """
    import transformers

    way_out = f"give a folder written by save_pretrained, or a hub id like {example}"
    source = fetch(model) if is_hub_id(model) else find(model)
    if source is None:
        raise SparksError(f"no critic model at {shorten(model)!r}; {way_out}")
    label = "critic model"
    with readable(source, label):
        architecture = transformers.PretrainedConfig.get_config_dict(source)[0].get("model_type")
        if architecture != kind:
            raise SparksError(
                f"critic model {model!r} is a {architecture}, not a {kind}; {way_out}"
            )
        return [
            _load(getattr(transformers, name), source, label, options)
            for name, options in parts.items()
        ]


def _load(kind: Any, source: Path, label: str, options: dict[str, Any]) -> Any:
    if not hasattr(kind, "named_parameters"):
        return kind.from_pretrained(source, **options)
    network = load_network(kind, source, label, **options)
    check_numbers(network, source, label)
    return network
