"""Edits of one source by several methods, side by side: what judges and comparisons look at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from sparks.errors import SparksError
from sparks.files import read_json, write_text

FILE = "comparison.json"
Role = Literal["ours", "baseline", "other"]
Name = Annotated[str, Field(pattern=r"^\w[\w .()/+@=-]*$")]


@dataclass(frozen=True)
class Scenario:
    """A source, what is asked of it, and what each method made.

    Attributes:
        name: unique in its comparison.
        prompt: the edit prompt; `static_prompt` says what the source shows.
        source: its video.
        edits: each method's video.
        kept: frames from the first that were to stay as they are.
        notes: what was changed to lay the videos side by side, and the user's own.
        p_yes: of a critic that no search has asked, by method, where that is known.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Name
    prompt: str
    source: Path
    edits: dict[Name, Path]
    static_prompt: str | None = None
    kept: int = 0
    notes: tuple[str, ...] = ()
    p_yes: dict[Name, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All scenarios; `roles` has every method, in the order of the layout."""

    title: str
    roles: dict[Name, Role]
    scenarios: list[Scenario]
    model: str | None = None

    def save(self, folder: Path) -> None:
        """Write `comparison.json`, its paths relative to `folder`."""
        content = TypeAdapter(Comparison).dump_python(self, mode="json")
        for scenario in content["scenarios"]:
            scenario["source"] = _relative(Path(scenario["source"]), folder)
            scenario["edits"] = {
                m: _relative(Path(p), folder) for m, p in scenario["edits"].items()
            }
        write_text(folder / FILE, json.dumps(content, indent=1) + "\n")


def read_comparison(folder: Path) -> Comparison:
    """What `Comparison.save` wrote.

    Raises:
        SparksError: there is none, or it cannot be read.
    """
    try:
        content: Any = read_json(folder / FILE)
        for scenario in content["scenarios"]:
            scenario["source"] = folder / scenario["source"]
            scenario["edits"] = {m: folder / path for m, path in scenario["edits"].items()}
        return TypeAdapter(Comparison).validate_python(content)
    except OSError:
        raise SparksError(f"no comparison at {folder}; make one with sparks compare") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SparksError(f"{folder / FILE} cannot be read: {str(error)[:200]}") from None


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return str(path.resolve())
