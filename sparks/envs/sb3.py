"""The batched environment as stable-baselines3 wants it: it takes no Gymnasium vector env."""

from typing import Any

from sparks.envs.building import make_episodes
from sparks.solvers.vecenv import EpisodesVecEnv


class RetakeVecEnv(EpisodesVecEnv):
    """`num_envs` times `RetakeEnv` around one problem, rendered and judged in one batch.

    What an agent draws from the global random states is its own: evaluating neither changes them
    nor depends on them.

    Args:
        num_envs: candidates per step.
        options: as of `sparks.envs.retake.RetakeEnv`: `problem` or `settings`, `steps`, `bound`,
            `render_mode`.

    Raises:
        SparksError: see `sparks.envs.building.make_episodes`.
    """

    def __init__(self, num_envs: int, **options: Any) -> None:
        super().__init__(make_episodes(num_envs, **options))
