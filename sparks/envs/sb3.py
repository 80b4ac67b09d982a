"""The batched environment as stable-baselines3 wants it: it takes no Gymnasium vector env."""

from typing import Any

from sparks.envs.building import Retakes
from sparks.errors import SparksError
from sparks.solvers.episodes import Array
from sparks.solvers.vecenv import EpisodesVecEnv


class RetakeVecEnv(EpisodesVecEnv):
    """`num_envs` times `RetakeEnv` around one problem, rendered and judged in one batch.

    `set_options({"task": ...})` changes the task at the next reset, for all of them. What an agent
    draws from the global random states is its own: evaluating neither changes them nor depends on
    them.

    Args:
        num_envs: candidates per step.
        options: those of `sparks.envs.retake.RetakeEnv`.

    Raises:
        SparksError: as of `RetakeEnv`.
    """

    episodes: Retakes

    def __init__(self, num_envs: int, **options: Any) -> None:
        super().__init__(Retakes(num_envs, **options))

    def reset(self) -> Array:
        """All back to z = 0; renders nothing.

        Raises:
            SparksError: the task cannot be had, or not all are given the same.
        """
        first, *others = self._options
        if any(other != first for other in others):
            raise SparksError("the options of a batch differ; it has one task, give all the same")
        self._reset_options()
        return self.episodes.begin(first)
