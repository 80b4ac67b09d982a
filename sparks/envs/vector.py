"""`sparks/Retake-v0` for many candidates: one forward renders and judges them all."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from sparks.envs.building import Retakes
from sparks.search.problem import EditProblem
from sparks.solvers.episodes import RENDER_MODES, Array, reward, told


class RetakeVectorEnv(VectorEnv[Array, NDArray[Any], NDArray[Any]]):
    """`num_envs` times `RetakeEnv` around one problem, in lockstep and in one batch.

    Episodes that end are started again within the same step: the observation is the new episode's,
    the old one's stands in `infos["final_obs"]` and its info in `infos["final_info"]`.

    Args:
        num_envs: candidates per step.
        options: those of `sparks.envs.retake.RetakeEnv`.

    Raises:
        SparksError: as of `RetakeEnv`.
    """

    metadata = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 25,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, num_envs: int = 1, **options: Any) -> None:
        self.episodes = Retakes(num_envs, **options)
        self.num_envs, self.render_mode = num_envs, self.episodes.render_mode
        self.single_action_space = self.episodes.action_space
        self.single_observation_space = self.episodes.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.episodes.metadata["autoreset_mode"] = AutoresetMode.SAME_STEP
        self.metadata = self.episodes.metadata

    @property
    def problem(self) -> EditProblem:
        """What is edited."""
        return self.episodes.problem

    def reset(  # type: ignore[override]
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """All back to z = 0, of `options["task"]` if there is one; as of `RetakeEnv`.

        Raises:
            SparksError: the task cannot be had; the environment stays as it is.
        """
        super().reset(seed=seed[0] if isinstance(seed, list) else seed)
        return self.episodes.begin(options), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Array, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Render and judge all z + actions together.

        Raises:
            BudgetExhausted: the problem's budget does not allow all of them; none was rendered.
            SparksError: actions of another shape.
        """
        observations, scored = self.episodes.advance(np.asarray(actions))
        infos: dict[str, Any] = {}
        over = self.episodes.over
        for row, evaluation in enumerate(scored):
            info = told(evaluation)
            if over:
                info = {"final_obs": observations[row], "final_info": info}
            infos = self._add_info(infos, info, row)
        if over:
            observations = self.episodes.restart()
        rewards = np.array([reward(evaluation) for evaluation in scored])
        ended = np.full(self.num_envs, over)
        return observations, rewards, ended, np.zeros_like(ended), infos

    def render(self) -> tuple[Any, ...] | None:
        """What `RetakeEnv.render` gives, for each candidate."""
        return tuple(self.episodes.pictures()) if self.render_mode is not None else None
