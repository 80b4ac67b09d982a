"""How close a clip comes to an action, as the log odds that a careful judge should give.

A judge that has only learned yes and no is as sure of an idle clip as it can be; one that learns
these grades has a slope to climb.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sparks.pocket import measure
from sparks.pocket.words import ACTIONS

if TYPE_CHECKING:
    from sparks.pocket.training.shown import Asked, Shown

SLOPE = 5.0  # of the log odds, per unit of strength
PASS = 0.9  # strength at which the odds are even
CERTAIN = 4.5  # log odds of a clear case
FLAWED = 3.0  # log odds that a dissolve or a teleport costs
ASTRAY = 1.5  # log odds that another action in place of the one asked for costs
DIP = 0.8  # strength of a blink that dims the object all the way but does not count yet
WEAK = (0.0, 1.0)  # share of the motion that weak clips keep


def grade(shown: Shown, asked: Asked) -> Tensor:
    """Log odds `[B]` that a careful judge should give.

    They grow by SLOPE per unit of strength, less FLAWED for what is not continuous and ASTRAY for
    another action instead, and are -CERTAIN for another object. Stillness is all or nothing.
    """
    colour, shape, action, _ = asked
    seen, strengths, scenes = shown.tracks, shown.strengths, shown.scenes
    verdict = measure.verdict(seen, action, strengths)
    blinking = action == ACTIONS.index("blink")
    dim = DIP * (1 - seen.mass.amin(1) / seen.mass[:, 0].clamp(min=1e-4)).clamp(0, 1)
    strength = torch.where(blinking, torch.maximum(verdict.strength, dim), verdict.strength)
    graded = (SLOPE * (strength - PASS)).clamp(-CERTAIN - ASTRAY, CERTAIN)
    graded = torch.where(blinking & (strength >= 1), CERTAIN, graded)
    certain = torch.where(verdict.strength >= 1, CERTAIN, -CERTAIN)
    odds = torch.where(action == ACTIONS.index("stay"), certain, graded)
    odds = odds - ASTRAY * _astray(strengths, action) * (odds < 0)
    odds = odds - FLAWED * (~verdict.continuous | ~verdict.identity)
    odds = torch.where(verdict.continuous & verdict.identity, odds, odds.clamp(max=-1.0))
    named = (shape == scenes.shape) & (colour == scenes.colour)
    return torch.where(named, odds, odds.clamp(max=-CERTAIN))


def _astray(strengths: Tensor, action: Tensor) -> Tensor:
    """How far the strongest action that was not asked for went, `[B]` in 0 .. 1."""
    others = strengths.clone()
    others[:, ACTIONS.index("stay")] = 0
    others.scatter_(1, action[:, None], 0)
    return others.amax(1).clamp(0, 1)
