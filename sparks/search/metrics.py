"""What plugins that look at finished edits must be: metrics.

Defined here, below the conformance checks, as every kind of plugin is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from sparks.errors import SparksError

if TYPE_CHECKING:
    from sparks.media.clip import Clip


class Unavailable(SparksError):
    """A metric's package or weights are not on this machine; the message says how to have them."""


@dataclass(frozen=True)
class Figure:
    """One number that a metric gives.

    Attributes:
        title: what tables call it, with its unit.
        form: how a value is written, e.g. `.3f`.
        better: which values a good edit has; None where neither is better by itself.
    """

    title: str
    form: str = ".3f"
    better: Literal["lower", "higher"] | None = None


@dataclass(frozen=True)
class Edited:
    """An edit beside its source: clips of one size, rate and length.

    Attributes:
        source, edit: the clips.
        prompt: what the edit shall show; None if unknown.
        static_prompt: what the source shows.
        kept: how many frames from the first were to stay as they are.
        using: what metrics shall use where they have a choice, by what it is for: `lpips`, `clip`
            and `sam2` a folder or hub id, `mask` a video that is white where the subject is.
        model: folder of the generator, whose own weights metrics may use.
        shared: what metrics have worked out of the pair so far, for one another.
    """

    source: Clip
    edit: Clip
    prompt: str | None = None
    static_prompt: str | None = None
    kept: int = 0
    using: Mapping[str, str] = field(default_factory=dict)
    model: Path | None = None
    shared: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Measurement:
    """What a metric found.

    Attributes:
        figures: a number for each of the metric's figures, None where it has no meaning.
        using: what was used where there was a choice, by what it was for.
        curves: more than a number: a value for each frame, by name.
    """

    figures: Mapping[str, float | None]
    using: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, list[float]] = field(default_factory=dict)


@runtime_checkable
class Metric(Protocol):
    """Numbers of an edit beside its source.

    `group` is what it can be chosen by together with others, `figures` what it gives, by the name
    of the column. It is made without arguments, and loads what it needs when it measures.
    """

    group: str
    figures: Mapping[str, Figure]

    def measure(self, edited: Edited) -> Measurement:
        """All of `figures`; the same for the same pair.

        Raises:
            Unavailable: a package or weights that it needs are not here.
        """
        ...
