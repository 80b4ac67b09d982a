import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import A2C
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import sparks.envs  # noqa: F401
from sparks.envs.retake import RetakeEnv
from sparks.envs.sb3 import RetakeVecEnv
from sparks.envs.vector import RetakeVectorEnv
from sparks.search.budget import BudgetExhausted
from tests.toy import FRAMES, problem

COUNT = 3


def same(first: Any, second: Any) -> bool:
    """Equal infos up to rounding, whatever their nesting."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    pairs = zip(first, second, strict=True)
    return all(np.allclose(one, other, atol=1e-5) for one, other in pairs)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_it_does_what_single_environments_with_same_step_autoreset_do(
    steps: int, gradient: bool
) -> None:
    options = {"steps": steps, "gradient": gradient}
    together = RetakeVectorEnv(COUNT, problem=problem(), **options)
    apart = SyncVectorEnv(
        [lambda: RetakeEnv(problem=problem(), **options)] * COUNT,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    assert together.action_space == apart.action_space
    assert together.observation_space == apart.observation_space
    assert together.metadata["autoreset_mode"] == apart.metadata["autoreset_mode"]
    assert np.array_equal(together.reset(seed=3)[0], apart.reset(seed=3)[0])
    apart.action_space.seed(0)
    for _ in range(2 * steps + 1):
        actions = apart.action_space.sample()
        *found, infos = together.step(actions)
        *expected, expected_infos = apart.step(actions)
        for one, other in zip(found, expected, strict=True):
            assert np.allclose(one, other, atol=1e-5)
            assert one.dtype == other.dtype
        assert same(infos, expected_infos)
    assert together.observation_space.contains(found[0])


def test_a_step_is_one_forward_for_all() -> None:
    task = problem("qwen_calls=9")
    env = gym.make_vec("sparks/Retake-v0", num_envs=4, problem=task)
    assert isinstance(env.unwrapped, RetakeVectorEnv)
    env.reset(seed=0)
    for _ in range(2):
        env.step(env.action_space.sample())
    assert task.editor.renders[-2:] == [4, 4]  # type: ignore[attr-defined]
    with pytest.raises(BudgetExhausted):
        env.step(env.action_space.sample())
    assert task.meter.qwen_calls == 8


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_gymnasium_makes_vectors_in_both_ways(mode: Any) -> None:
    options = {"problem": problem(), "gradient": True, "steps": 2, "render_mode": "rgb_array"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        env = gym.make_vec("sparks/Retake-v0", 2, vectorization_mode=mode, **options)
        observations, infos = env.reset(seed=[3, 4], options={})
        assert env.observation_space.contains(observations)
        assert infos == {}
        for _ in range(5):
            observations, rewards, ended, cut, infos = env.step(env.action_space.sample())
            assert env.observation_space.contains(observations)
            assert (rewards.shape, ended.shape, cut.any()) == ((2,), (2,), False)
            assert "wall_clock" not in str(infos)
        assert np.shape(env.render()) == (2, 4, 4, 3)
        for single in getattr(env.unwrapped, "envs", ()):
            check_env(single.unwrapped)
            check_env_of_sb3(single.unwrapped)


@pytest.mark.parametrize("mode", ["rgb_array", "rgb_array_list"])
def test_the_last_edits_can_be_seen_although_the_next_episodes_have_begun(mode: str) -> None:
    env = RetakeVectorEnv(2, problem=problem(), render_mode=mode)
    untuned = env.render()
    env.reset()
    assert untuned is not None
    actions = env.action_space.sample()
    env.step(actions)
    shown = env.render()
    assert shown is not None
    single = RetakeEnv(problem=problem(), render_mode=mode)
    single.reset()
    single.step(actions[1])
    assert len(shown) == 2
    assert np.abs(np.int16(shown[1]) - np.int16(single.render())).max() <= 1
    assert not np.array_equal(shown[0], untuned[0])
    assert len(shown[0]) == (FRAMES if mode == "rgb_array_list" else 4)


def test_agents_of_stable_baselines3_learn_on_the_batch() -> None:
    task = problem()
    env = RetakeVecEnv(4, problem=task, steps=2, render_mode="rgb_array")
    agent = A2C("MlpPolicy", env, n_steps=2, seed=0)
    agent.learn(16)
    assert task.editor.renders[-4:] == [4] * 4  # type: ignore[attr-defined]
    image = env.render()
    assert image is not None
    assert image.shape == (8, 8, 3)
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 4
    env.close()


def test_the_batch_of_stable_baselines3_reports_the_ended_episodes() -> None:
    env = RetakeVecEnv(2, problem=problem(), steps=2)
    assert not env.reset().any()
    actions = np.full((2, 54), 0.1, np.float32)
    first, rewards, ended, infos = env.step(actions)
    assert not ended.any()
    assert first[:, -1].tolist() == [0.5, 0.5]
    second, rewards, ended, infos = env.step(actions)
    assert ended.all()
    assert not second.any()
    assert [info["terminal_observation"][-1] for info in infos] == [1, 1]
    assert rewards.tolist() == pytest.approx([-info["total"] for info in infos])
    (expected,) = problem().evaluate(2 * actions[0])
    assert rewards[0] == pytest.approx(-expected.total, rel=1e-5)


def test_evaluating_leaves_the_random_numbers_of_an_agent_alone() -> None:
    import torch

    def draws(count: int) -> tuple[float, float]:
        task = problem()
        task.observers.append(lambda scored: (torch.rand(9), np.random.rand(9))[0])  # type: ignore[arg-type, func-returns-value] # noqa: NPY002
        env = RetakeVecEnv(2, problem=task)
        env.reset()
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        for _ in range(count):
            env.step(np.zeros((2, 54), np.float32))
        return float(torch.rand(1)), float(np.random.rand())  # noqa: NPY002

    assert draws(0) == draws(3)
