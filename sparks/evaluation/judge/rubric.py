"""What a judge gives points for, and what each counts: the two rubrics of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sparks.errors import SparksError

TOLERANCE = 0.01 + 1e-9  # of what is printed with two decimals: its own rounding and its parts'


@dataclass(frozen=True)
class Axis:
    """One question, answered by a number from 0 to 10, and its share of the overall."""

    weight: float
    question: str


@dataclass(frozen=True)
class Rubric:
    """Axes by name; the overall is their weighted sum."""

    name: str
    axes: Mapping[str, Axis]

    def overall(self, scores: Mapping[str, float]) -> float:
        """From 0 to 10."""
        return sum(axis.weight * scores[name] for name, axis in self.axes.items())


EDIT = Rubric(  # Eq. 14
    "edit",
    {
        "edit_alignment": Axis(0.35, "does what the edit prompt asks for really happen?"),
        "motion_quality": Axis(0.25, "is the motion complete, continuous and plausible?"),
        "source_preservation": Axis(0.20, "is everything else as in the source?"),
        "visual_quality": Axis(0.20, "are the frames clean, without artefacts?"),
    },
)
#: Weights of Eq. S10. Table 1 names the first three axes; the names of the others are ours.
MODALITY = Rubric(
    "modality",
    {
        "alignment": Axis(0.25, "does what the edit prompt asks for really happen?"),
        "naturalness": Axis(0.25, "does it move the way such a thing moves?"),
        "preservation": Axis(0.20, "are subject, scene and framing those of the source?"),
        "continuity": Axis(0.15, "does it pass without jumps, dissolves or flicker?"),
        "visual_quality": Axis(0.10, "are the frames clean, without artefacts?"),
        "restraint": Axis(0.05, "does nothing happen that nobody asked for?"),
    },
)
RUBRICS = {rubric.name: rubric for rubric in (EDIT, MODALITY)}


def rubric(name: str) -> Rubric:
    """One of the two by its name.

    Raises:
        SparksError: there is none of that name.
    """
    if name not in RUBRICS:
        raise SparksError(f"no rubric {name!r}; choose from {', '.join(RUBRICS)}")
    return RUBRICS[name]
