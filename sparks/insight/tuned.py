"""Tuned controls of many runs, and what is known of each run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparks.editors.controls import load_controls
from sparks.errors import SparksError
from sparks.files import read_json
from sparks.pocket.words import understand
from sparks.runs.recipes import read_recipe

WHAT = ("alpha", "delta_v")
Array = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Tuned:
    """The controls of one run.

    Attributes:
        name: of its folder, as far as it differs from the others'.
        folder: where it is.
        fields: everything that its recipe and its row of an experiment say, by dotted names, and
            `asks`, `shows`, `colour` and `shape` where its prompts are of the bundled model's
            words: the action that is asked for, that of the source, and the object.
    """

    name: str
    folder: Path
    fields: Mapping[str, Any]

    def vector(self, what: str) -> Array:
        """`alpha` or `delta_v`, flat, float32."""
        value = getattr(load_controls(self.folder / "best.safetensors"), what)
        return np.asarray(value.flatten().float().numpy())


def read_runs(places: Sequence[Path]) -> list[Tuned]:
    """All finished runs in these folders, and in folders below them.

    Raises:
        SparksError: one holds none.
    """
    folders = [folder for place in places for folder in _folders(place)]
    unique = list(dict.fromkeys(folders))
    return [Tuned(_name(folder, unique), folder, _fields(folder)) for folder in unique]


def vectors(runs: Sequence[Tuned], what: str) -> tuple[list[Tuned], list[Array]]:
    """The runs that have tuned `what` at all, and what they have.

    Raises:
        SparksError: fewer than three have, or two have different shapes.
    """
    pairs = [(run, run.vector(what)) for run in runs]
    pairs = [(run, vector) for run, vector in pairs if vector.any()]
    if len(pairs) < 3:
        raise SparksError(
            f"{len(pairs)} of {len(runs)} runs have tuned {what}; a map needs three, name more"
        )
    first, size = pairs[0][0], len(pairs[0][1])
    for run, vector in pairs:
        if len(vector) != size:
            raise SparksError(
                f"{what} has {size} numbers in {first.folder} and {len(vector)} in {run.folder}; "
                "map runs of one model and one length of clip"
            )
    return [run for run, _ in pairs], [vector for _, vector in pairs]


def _folders(place: Path) -> list[Path]:
    found = sorted(path.parent for path in place.rglob("best.safetensors"))
    if not found:
        raise SparksError(f"{place} holds no finished run; give folders of solve or bench")
    return found


def _name(folder: Path, all_: Sequence[Path]) -> str:
    """The shortest end of its path that no other run has."""
    parts = folder.absolute().parts
    for length in range(1, len(parts)):
        end = parts[-length:]
        if sum(other.absolute().parts[-length:] == end for other in all_) == 1:
            return "/".join(end)
    return str(folder)


def _fields(folder: Path) -> dict[str, Any]:
    recipe = read_recipe(folder / "best.safetensors")
    fields = dict(_flat(recipe))
    row = folder / "row.json"
    if row.is_file():
        try:
            fields |= dict(_flat(read_json(row)))
        except ValueError as error:
            raise SparksError(f"{row} cannot be read ({error}); remove it") from error
    return fields | _understood(fields)


def _understood(fields: Mapping[str, Any]) -> dict[str, Any]:
    said = understand(str(fields.get("prompt", "")))
    shown = understand(str(fields.get("config.static_prompt", "")))
    words = {"asks": said.action, "shows": shown.action, "colour": said.colour}
    return {k: v for k, v in (words | {"shape": said.shape}).items() if v is not None}


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Text, numbers and truths by dotted names; lists are left out."""
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _flat(each, f"{before}{name}.")
        elif isinstance(each, str | int) or (isinstance(each, float) and math.isfinite(each)):
            yield f"{before}{name}", each
