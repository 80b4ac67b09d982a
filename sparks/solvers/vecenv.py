"""The batched environment as stable-baselines3 wants it: it takes no Gymnasium vector env."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from sparks.search.problem import EditProblem
from sparks.solvers.episodes import Array, Episodes, reward, told


class EpisodesVecEnv(VecEnv):
    """Episodes around one problem, rendered and judged in one batch.

    What an agent draws from the global random states is its own: evaluating neither changes them
    nor depends on them.

    Args:
        episodes: as many as candidates per step.
    """

    def __init__(self, episodes: Episodes) -> None:
        self.episodes = episodes
        super().__init__(episodes.count, episodes.observation_space, episodes.action_space)

    @property
    def problem(self) -> EditProblem:
        """What is edited."""
        return self.episodes.problem

    def reset(self) -> Array:
        """All back to z = 0; renders nothing."""
        self.episodes.forget()
        return self.episodes.restart()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remember the actions `[B, k]`."""
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, NDArray[Any], list[dict[str, Any]]]:
        """Render and judge all z + actions together; ended episodes start again.

        Raises:
            BudgetExhausted: the problem's budget does not allow all of them; none was rendered.
        """
        with _random_states_kept():
            observations, scored = self.episodes.advance(self._actions)
        infos = [told(evaluation) for evaluation in scored]
        over = self.episodes.over
        if over:
            infos = [
                {**info, "terminal_observation": last}
                for info, last in zip(infos, observations, strict=True)
            ]
            observations = self.episodes.restart()
        rewards = np.array([reward(evaluation) for evaluation in scored], np.float32)
        return observations, rewards, np.full(self.num_envs, over), infos

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        """The last edit's last frame of each candidate."""
        return self.episodes.pictures()

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the episodes, once for each index."""
        return [getattr(self.episodes, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the episodes; they share it."""
        setattr(self.episodes, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kw: Any) -> list[Any]:
        """Call a method of the episodes once; its result for each index."""
        result = getattr(self.episodes, method_name)(*args, **kw)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * len(list(self._get_indices(indices)))


@contextmanager
def _random_states_kept() -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
