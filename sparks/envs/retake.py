"""`sparks/Retake-v0`: one edit as a Gymnasium environment."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from sparks.envs.building import Retakes
from sparks.search.problem import EditProblem
from sparks.solvers.episodes import RENDER_MODES, Array, reward, told


class RetakeEnv(gym.Env[Array, NDArray[Any]]):
    """An action moves the controls; the reward is minus the loss of the edit that they give.

    - Action: `[k]` in the space's unit, added to z, which starts at 0 in every episode.
    - Observation: `[6]`, the loss terms of what was just rendered (vlm, latent_alpha, latent_v,
      lpips, temporal; zeros before the first action) and the share of the episode's steps done.
    - Reward: -L. An episode ends (`terminated`) after `steps` actions.
    - `info`: `p_yes`, `losses` by term, `total`; with `gradient`, that of the reward, `[k]`.
    - The task: `reset(options={"task": ...})` changes it, until another one is named: to one of the
      bundled lists by name (`03-grow`, `dev40/00-jump`), or to a mapping with any of `video`,
      `prompt`, `static_prompt`, `negative_prompt`, `audio_prompt`, `prefix_frames`, `window`.
    - The problem's budget is not hidden: `step` raises `BudgetExhausted` when it is spent.

    Args:
        problem: what is edited; or give `settings`.
        settings: as of `sparks.edit`; the bundled task in a low-dimensional space by default.
            Without a `budget` among them there is no limit; one holds for all tasks together.
        steps: actions per episode.
        bound: largest absolute value of each element of an action.
        gradient: give that of each reward in `info`; costs a backward pass through the renderer.
        render_mode: `rgb_array` for the last edit's last frame, `rgb_array_list` for all frames.

    Raises:
        SparksError: both or unusable settings and problem, or a number or mode out of range.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 25}  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self.episodes = Retakes(1, **options)
        self.action_space = self.episodes.action_space
        self.observation_space = self.episodes.observation_space
        self.metadata, self.render_mode = self.episodes.metadata, self.episodes.render_mode

    @property
    def problem(self) -> EditProblem:
        """What is edited."""
        return self.episodes.problem

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Back to z = 0, of `options["task"]` if there is one; renders nothing.

        The noise is the problem's, whatever the seed.

        Raises:
            SparksError: the task cannot be had; the environment stays as it is.
        """
        super().reset(seed=seed)
        return self.episodes.begin(options)[0], {}

    def step(self, action: NDArray[Any]) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Render and judge z + action.

        Raises:
            BudgetExhausted: the problem's budget is spent.
            SparksError: an action of another shape.
        """
        observations, (evaluation,) = self.episodes.advance(np.asarray(action)[None])
        return observations[0], reward(evaluation), self.episodes.over, False, told(evaluation)

    def render(self) -> Any:
        """The last edit's last frame `[H, W, 3]` uint8, or the list of its frames."""
        return self.episodes.pictures()[0] if self.render_mode is not None else None
