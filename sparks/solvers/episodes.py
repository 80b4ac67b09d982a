"""What one environment and a batch of them share: edits that are refined in lockstep."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.search.objective import Weights
from sparks.search.problem import EditProblem

TERMS = tuple(field.name for field in fields(Weights))
MOST = 100.0  # a loss term above this reads as this, so that an observation is finite
RENDER_MODES = ("rgb_array", "rgb_array_list")

Array = NDArray[np.float32]


class Episodes:
    """B episodes side by side; one step renders and judges all of their candidates together.

    Every episode starts at z = 0. An action is added to z, which is then rendered and judged; after
    `steps` actions the episode is over.

    Args:
        count: B.
        problem: what is edited; its own budget holds.
        steps: actions per episode.
        bound: largest absolute value of each element of an action, in the space's unit.
        gradient: also have the gradient of each reward; see `told`.
        render_mode: None, `rgb_array` or `rgb_array_list`.

    Raises:
        SparksError: a number or mode out of range, or the critic has no gradient.
    """

    def __init__(
        self,
        count: int,
        problem: EditProblem,
        *,
        steps: int = 1,
        bound: float = 1.0,
        gradient: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if steps < 1 or not 0 < bound < np.inf:
            raise SparksError(f"steps is {steps}, bound is {bound}; both must be positive")
        if render_mode not in (None, *RENDER_MODES):
            raise SparksError(f"render_mode is {render_mode!r}; choose {', '.join(RENDER_MODES)}")
        if gradient and not problem.critic.differentiable:
            critic = type(problem.critic).__name__
            raise SparksError(f"critic {critic} has no gradient; leave it out, or choose another")
        self.problem, self.gradient = problem, gradient
        self.count, self.steps, self.render_mode = count, steps, render_mode
        self.action_space = gym.spaces.Box(-bound, bound, (self.problem.dim,), np.float32)
        self.observation_space = gym.spaces.Box(0, MOST, (len(TERMS) + 1,), np.float32)
        self.metadata: dict[str, Any] = {
            "render_modes": list(RENDER_MODES),
            "render_fps": self.problem.conditioning.fps,
        }
        self.forget()
        self.restart()

    def restart(self) -> Array:
        """Put every episode at its start; observations `[B, 6]`. Nothing is rendered."""
        self.step = 0
        self.z = np.zeros((self.count, self.problem.dim), np.float32)
        return np.stack([self._observation({}) for _ in range(self.count)])

    def forget(self) -> None:
        """Drop the last edit's frames, so that `pictures` shows the prompt-only render."""
        self._frames: torch.Tensor | None = None

    def advance(self, actions: NDArray[Any]) -> tuple[Array, list[Evaluation]]:
        """Add `actions [B, k]`, clipped to the box; observations `[B, 6]` and evaluations.

        Raises:
            BudgetExhausted: the problem's budget does not allow it; nothing has changed.
            SparksError: actions of another shape, or with values that are no numbers.
        """
        box = self.action_space
        if np.shape(actions) != self.z.shape:
            shape = list(np.shape(actions))
            raise SparksError(f"actions have shape {shape}, not {list(self.z.shape)}")
        if not np.isfinite(actions).all():
            raise SparksError("an action holds values that are no numbers; give finite ones")
        z = self.z + np.clip(actions, box.low, box.high)
        shown = self.render_mode is not None
        scored = self.problem.evaluate(z, gradient=self.gradient, frames=shown)
        self.z, self.step = z, self.step + 1
        if shown:
            self._frames = torch.stack([each.frames for each in scored if each.frames is not None])
        return np.stack([self._observation(each.losses.terms) for each in scored]), scored

    @property
    def over(self) -> bool:
        """Whether the episodes have had all their steps."""
        return self.step >= self.steps

    def pictures(self) -> list[Any]:
        """For each episode the last edit's last frame, or the list of its frames.

        A frame is `[H, W, 3]` uint8. Before the first edit it is the prompt-only render's.
        """
        frames = self._frames
        if frames is None:
            with self.problem.meter.paused():
                frames = self.problem.baseline.expand(self.count, -1, -1, -1, -1)
        pixels = (frames * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
        whole = self.render_mode == "rgb_array_list"
        return [list(video) if whole else video[-1] for video in pixels]

    def _observation(self, terms: Mapping[str, float]) -> Array:
        values = [*(terms.get(name, 0.0) for name in TERMS), self.step / self.steps]
        return np.nan_to_num(np.asarray(values), nan=MOST).clip(0, MOST).astype(np.float32)


def reward(evaluation: Evaluation) -> float:
    """Minus the loss; one that is no number counts as a large one."""
    return -evaluation.total if math.isfinite(evaluation.total) else -MOST


def told(evaluation: Evaluation) -> dict[str, Any]:
    """The `info` of one evaluation: what it scored, nothing of the clock.

    `gradient`, if there is one, is that of the reward with respect to z, `[k]`: zeros where the
    reward stands for a loss that is no number.
    """
    info = {
        "p_yes": evaluation.p_yes,
        "losses": dict(evaluation.losses.terms),
        "total": evaluation.total,
    }
    if evaluation.gradient is not None:
        gradient = -evaluation.gradient.cpu().numpy()
        info["gradient"] = gradient if evaluation.finite else np.zeros_like(gradient)
    return info
