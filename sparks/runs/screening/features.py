"""What a probe says, as few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

from sparks.runs.screening.probe import Look, Probe

_LARGEST = 8.0  # log odds beyond which a critic's answers differ by rounding only


def features(probe: Probe) -> dict[str, float]:
    """Numbers by which edits are told apart; log odds are the critic's, of P(yes).

    `start`, `prompt_mean`, `prompt_best`, `prompt_spread`: of the prompt alone, under its own noise
    and over all; `slope`: see `Probe`, as a logarithm; `step`: what a step down the gradient gains;
    `draw_mean`, `draw_best`, `draw_spread`, `draws_accepted`: of the draws; `source_motion`,
    `start_motion`, `best_motion`: logarithms of the changes from frame to frame; `start_leap`,
    `best_leap`: of the largest of them; best is the render with the best answer.
    """
    start, prompt = probe.looks[0], [*probe.of("start"), *probe.of("noise")]
    odds, draws = list(map(log_odds, prompt)), list(map(log_odds, probe.of("draw")))
    best = max(probe.looks, key=log_odds)
    return {
        "start": log_odds(start),
        "prompt_mean": fmean(odds),
        "prompt_best": max(odds),
        "prompt_spread": pstdev(odds),
        "slope": math.log1p(probe.slope or 0.0),
        "step": max(map(log_odds, probe.of("step")), default=odds[0]) - odds[0],
        "draw_mean": _mean(draws, odds),
        "draw_best": max(draws, default=max(odds)),
        "draw_spread": pstdev(draws) if draws else 0.0,
        "draws_accepted": sum(value > 0 for value in draws) / max(len(draws), 1),
        "source_motion": _log(probe.source[0]),
        "start_motion": _log(start.motion),
        "start_leap": math.log(start.leap),
        "best_motion": _log(best.motion),
        "best_leap": math.log(best.leap),
    }


def log_odds(look: Look) -> float:
    """Of its P(yes)."""
    p_yes = min(max(look.p_yes if math.isfinite(look.p_yes) else 0.0, 1e-12), 1 - 1e-12)
    return max(-_LARGEST, min(_LARGEST, math.log(p_yes / (1 - p_yes))))


def _mean(values: Sequence[float], otherwise: Sequence[float]) -> float:
    return fmean(values or otherwise)


def _log(motion: float) -> float:
    return math.log(motion + 1e-5)
