"""Several critics, questions and windows as one critic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from sparks.critics.base import Critic
from sparks.critics.sampling import glance
from sparks.errors import SparksError
from sparks.registry import complete


@dataclass(frozen=True)
class Part:
    """One critic's share of a composite.

    Attributes:
        critic: who is asked.
        weight: of its log odds; negative for what the video should not show.
        prompt: what it is asked about; `{prompt}` stands for the edit prompt.
        any_window: cut what is looked at into so many windows, each overlapping the next by half,
            and say yes if any of them shows it: for brief events.

    Raises:
        SparksError: a weight or a number of windows that cannot be used.
    """

    critic: Critic
    weight: float = 1.0
    prompt: str = "{prompt}"
    any_window: int = 1

    def __post_init__(self) -> None:
        complete(self.critic, Critic)
        if self.weight == 0 or not math.isfinite(self.weight):
            raise SparksError(f"critic part has weight {self.weight}; give a number, or drop it")
        if self.any_window < 1:
            raise SparksError(f"critic part has any_window {self.any_window}; give at least 1")

    @property
    def calls(self) -> int:
        """Critic calls per video."""
        return self.any_window * self.critic.calls

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int]) -> Tensor:
        """As of a critic, unweighted: [B] float32."""
        question = self.prompt.replace("{prompt}", prompt)
        windows = overlapping(indices, self.any_window)
        odds = [self.critic.log_odds(frames, question, window) for window in windows]
        return any_of(torch.stack(odds)) if len(odds) > 1 else odds[0]


class CompositeCritic:
    """The weighted mean of the log odds of its parts (a logarithmic opinion pool).

    log_odds = sum_i w_i log_odds_i / sum_i |w_i|. Every question of every part on every window is a
    critic call and charged as one.

    Args:
        parts: a `Part` each, or the settings of a critic with `weight`, `prompt` and `any_window`
            among them; equal critics are loaded once.
        build: makes a critic of its settings; given by the program.
        num_frames: frames looked at, if not told which.
        sampling: which frames, one of `sparks.critics.sampling.MODES`.

    Raises:
        SparksError: no parts, or one that cannot be used.
    """

    bundled = None

    def __init__(
        self,
        parts: Sequence[Part | Mapping[str, Any]],
        *,
        build: Callable[[dict[str, Any]], Critic] | None = None,
        num_frames: int = 8,
        sampling: str = "linspace",
    ) -> None:
        if not parts:
            raise SparksError("a composite critic needs parts; list one or more in critic.parts")
        self.parts = _built(parts, build)
        self.num_frames, self.sampling = num_frames, sampling
        self.differentiable = all(part.critic.differentiable for part in self.parts)
        self.calls = sum(part.calls for part in self.parts)

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        """The pooled log odds of each video, [B] float32.

        Args:
            frames: [B, T, 3, H, W] in [0, 1].
            prompt: the edit prompt.
            indices: the frames to look at, ascending; by default chosen by `sampling`.
        """
        if indices is None:
            indices = glance(frames.shape[1], self.num_frames, self.sampling)
        odds = [
            part.weight * part.log_odds(frames, prompt, indices).to(frames.device)
            for part in self.parts
        ]
        return torch.stack(odds).sum(0) / sum(abs(part.weight) for part in self.parts)


def any_of(log_odds: Tensor) -> Tensor:
    """Noisy-OR: log odds [...] that at least one of the first axis is true, were they independent.

    log_odds [N, ...]; P = 1 - prod_n (1 - P_n).
    """
    none = softplus(log_odds.double()).sum(0)  # -log of the probability that none is
    return (none + (-torch.expm1(-none)).log()).to(log_odds.dtype)


def overlapping(indices: Sequence[int], count: int) -> list[list[int]]:
    """`count` windows over `indices`, of one even length, each overlapping the next by half."""
    length = min(len(indices), 2 * math.ceil(len(indices) / (count + 1)))
    step = (len(indices) - length) / max(1, count - 1)
    starts = [round(i * step) for i in range(count)]
    return [list(indices[start : start + length]) for start in starts]


def _built(
    parts: Sequence[Part | Mapping[str, Any]],
    build: Callable[[dict[str, Any]], Critic] | None,
) -> list[Part]:
    made: list[tuple[dict[str, Any], Critic]] = []

    def critic(settings: dict[str, Any]) -> Critic:
        for settings_before, one in made:
            if settings_before == settings:
                return one
        if build is None:
            raise SparksError(f"critic part {settings} is no Part; give Part(critic, ...)")
        made.append((settings, build(settings)))
        return made[-1][1]

    shares = []
    for part in parts:
        if isinstance(part, Part):
            shares.append(part)
        elif isinstance(part, Mapping):
            share = {key: part[key] for key in ("weight", "prompt", "any_window") if key in part}
            rest = {key: value for key, value in part.items() if key not in share}
            shares.append(Part(critic(rest), **share))
        else:
            raise SparksError(f"critic part {part!r} is no setting; write e.g. {{name: clip}}")
    return shares
