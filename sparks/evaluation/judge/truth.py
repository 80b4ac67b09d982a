"""The judge that knows: pocket's measurement of what a clip of its world shows."""

from __future__ import annotations

import itertools
import json
from typing import Any

import torch

from sparks.errors import SparksError
from sparks.evaluation.judge.request import Request
from sparks.evaluation.judge.rubric import MODALITY, Rubric
from sparks.evaluation.scenarios import Scenario
from sparks.media.clip import read_clip
from sparks.pocket import measure
from sparks.pocket.words import COLOURS, understand

FAINT = 0.02  # mean change outside the object that costs all points for preservation


def truth(scenario: Scenario, method: str) -> dict[str, float]:
    """`happened`, `strength`, `continuous` and `outside` (mean change) of an edit.

    Raises:
        SparksError: the prompt is not of pocket's world.
    """
    said = understand(scenario.prompt)
    if said.colour is None or said.action is None:
        raise SparksError(
            f"{scenario.name}: {scenario.prompt!r} is not of pocket's world; choose another judge"
        )
    frames = read_clip(scenario.edits[method]).frames[None]
    source = read_clip(scenario.source).frames[None, : frames.shape[1]]
    seen = measure.judge(frames[:, : source.shape[1]], [scenario.prompt])
    colour = torch.tensor([COLOURS.index(said.colour)])
    outside = measure.outside_error(frames[:, : source.shape[1]], source, colour)
    return {
        "happened": float(seen.happened),
        "strength": float(seen.strength),
        "continuous": float(seen.continuous),
        "outside": float(outside),
    }


def has_truth(scenario: Scenario) -> bool:
    """Whether the prompt is of pocket's world."""
    said = understand(scenario.prompt)
    return said.colour is not None and said.action is not None


class Truth:
    """Answers from the measurement; its own agreement with the truth is not worth reporting."""

    name = "pocket"

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        """Points by what was measured, in the form asked for."""
        measured = {
            alias: truth(request.scenario, method) for alias, method in request.methods.items()
        }
        candidates = [_verdict(alias, seen, request.rubric) for alias, seen in measured.items()]
        overall = {each["alias"]: each["overall"] for each in candidates}
        pairs = itertools.combinations(overall, 2)
        return json.dumps(
            {
                "candidates": candidates,
                "ranking": sorted(overall, key=lambda alias: -overall[alias]),
                "preferences": [
                    {"first": a, "second": b, "preferred": _better(overall, a, b)} for a, b in pairs
                ],
            }
        )


def _better(overall: dict[str, float], first: str, second: str) -> str:
    if overall[first] == overall[second]:
        return "tie"
    return first if overall[first] > overall[second] else second


def _verdict(alias: str, seen: dict[str, float], rubric: Rubric) -> dict[str, Any]:
    happened, whole = bool(seen["happened"]), bool(seen["continuous"])
    alignment = 10.0 if happened else 3 * min(1.0, max(0.0, seen["strength"]))
    preserved = 10 * max(0.0, 1 - seen["outside"] / FAINT)
    motion = (10.0 if happened else 5.0) if whole else 1.0
    quality = 10.0 if whole else 4.0
    scores = {
        "edit_alignment": alignment,
        "motion_quality": motion,
        "source_preservation": preserved,
        "visual_quality": quality,
    }
    if rubric.name == MODALITY.name:
        scores = {
            "alignment": alignment,
            "naturalness": motion,
            "preservation": preserved,
            "continuity": quality,
            "visual_quality": quality,
            "restraint": preserved,
        }
    scores = {name: round(value, 2) for name, value in scores.items()}
    reason = f"strength {seen['strength']:.2f}, {'unbroken' if whole else 'broken'}"
    return {
        "alias": alias,
        "scores": scores,
        "overall": round(rubric.overall(scores), 2),
        "task_achieved": happened,
        "reason": reason,
    }
