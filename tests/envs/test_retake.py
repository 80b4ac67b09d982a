import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.save_video import save_video
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3

import sparks.envs  # noqa: F401
from sparks.envs.retake import RetakeEnv
from sparks.errors import SparksError
from sparks.search.budget import BudgetExhausted
from sparks.solvers.episodes import TERMS, reward
from tests.toy import FRAMES, SIDE, Blind, problem

QUICK = {"sampling": {"num_inference_steps": 2, "grad_steps": 1}}


@pytest.fixture(scope="module")
def pocket() -> RetakeEnv:
    """The bundled task with fewer denoising steps."""
    env = gym.make("sparks/Retake-v0", settings=QUICK).unwrapped
    assert isinstance(env, RetakeEnv)
    return env


def test_importing_the_package_registers_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, sparks.envs, gymnasium; gymnasium.spec('sparks/Retake-v0'); "
        "print(*{'torch', 'stable_baselines3', 'transformers', 'diffusers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_gymnasium_accepts_the_bundled_task(pocket: RetakeEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(pocket)


def test_stable_baselines3_accepts_the_bundled_task(pocket: RetakeEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env_of_sb3(pocket)


def test_without_settings_of_them_dimensions_are_few_and_calls_unlimited(pocket: RetakeEnv) -> None:
    assert pocket.action_space.shape == (33,)  # 32 of temporal, and one that fades the sound out
    assert pocket.problem.prompt
    assert pocket.problem.affordable() is None
    assert pocket.problem.conditioning.fps == pocket.metadata["render_fps"] == 12.5


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_both_checkers_accept_any_problem(steps: int, gradient: bool) -> None:
    options = {"steps": steps, "gradient": gradient, "render_mode": "rgb_array"}
    env = gym.make("sparks/Retake-v0", problem=problem(), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(env.unwrapped)
        check_env_of_sb3(env.unwrapped)


def test_the_reward_is_minus_the_loss_and_actions_add_up() -> None:
    task, other = problem(), problem()
    env = RetakeEnv(problem=task, steps=3, bound=0.5)
    observation, info = env.reset(seed=1)
    assert not observation.any()
    assert info == {}
    rng = np.random.default_rng(0)
    z = np.zeros(task.dim, np.float32)
    for step in (1, 2, 3):
        action = rng.uniform(-1, 1, task.dim).astype(np.float32)
        z = z + action.clip(-0.5, 0.5)
        observation, gain, terminated, truncated, info = env.step(action)
        (expected,) = other.evaluate(z)
        assert gain == -expected.total
        assert info["losses"] == dict(expected.losses.terms)
        assert (info["p_yes"], info["total"]) == (expected.p_yes, expected.total)
        terms = [expected.losses.terms.get(name, 0) for name in TERMS]
        assert observation == pytest.approx(np.float32([*terms, step / 3]))
        assert (terminated, truncated) == (step == 3, False)
    assert not env.reset()[0].any()
    assert env.step(np.zeros(task.dim))[1] == pytest.approx(-other.evaluate(0 * z)[0].total)


def test_info_has_the_gradient_of_the_reward_on_request() -> None:
    env = RetakeEnv(problem=problem(), steps=2, gradient=True)
    step = np.random.default_rng(0).standard_normal(54).astype(np.float32) / 100
    ends = []
    for sign in (-1, 1):
        env.reset()
        env.step(np.full(54, 0.1, np.float32))
        ends.append(env.step(sign * step)[1])
    env.reset()
    env.step(np.full(54, 0.1, np.float32))
    info = env.step(np.zeros(54, np.float32))[4]
    assert info.keys() == {"p_yes", "losses", "total", "gradient"}
    assert info["gradient"].shape == (54,)
    assert info["gradient"].dtype == np.float32
    assert (ends[1] - ends[0]) / 2 == pytest.approx(float(info["gradient"] @ step), rel=2e-2)
    assert env.problem.meter.denoiser_backwards == env.problem.meter.renders
    with pytest.raises(SparksError, match="critic Blind has no gradient"):
        RetakeEnv(problem=problem(critic=Blind()), gradient=True)


def test_resetting_renders_nothing_and_the_problems_budget_holds() -> None:
    task = problem("qwen_calls=2")
    env = RetakeEnv(problem=task)
    for _ in range(2):
        env.reset()
        env.step(env.action_space.sample())
    assert (task.meter.renders, task.meter.qwen_calls) == (2, 2)
    env.reset()
    with pytest.raises(BudgetExhausted):
        env.step(env.action_space.sample())


def test_settings_may_set_space_and_budget() -> None:
    settings = QUICK | {"space": {"name": "random", "k": 6}, "budget": "renders=1"}
    env = gym.make("sparks/Retake-v0", settings=settings, bound=2.0)
    assert env.action_space == gym.spaces.Box(-2.0, 2.0, (6,))
    env.reset()
    env.step(env.action_space.sample())
    with pytest.raises(BudgetExhausted):
        env.step(env.action_space.sample())


def pixels(env: RetakeEnv) -> Any:
    action = np.full(env.problem.dim, 0.3, np.float32)
    env.step(action)
    (expected,) = problem().evaluate(action, frames=True)
    assert expected.frames is not None
    return (expected.frames * 255).round().byte().permute(0, 2, 3, 1).numpy()


def test_it_shows_the_last_edit_and_the_prompt_only_render_before() -> None:
    task = problem()
    env = RetakeEnv(problem=task, render_mode="rgb_array_list")
    untuned = env.render()
    env.reset()
    assert np.array_equal(env.render(), untuned)
    assert len(untuned) == FRAMES
    assert task.meter.renders == 0
    expected = pixels(env)
    assert np.array_equal(env.render(), expected)
    assert not np.array_equal(expected, untuned)
    env.reset()
    assert np.array_equal(env.render(), untuned)
    single = RetakeEnv(problem=problem(), render_mode="rgb_array")
    single.reset()
    expected = pixels(single)
    assert np.array_equal(single.render(), expected[-1])
    assert single.render().shape == (SIDE, SIDE, 3)
    blind = RetakeEnv(problem=problem())
    blind.reset()
    assert blind.render() is None


def count_frames(path: Path) -> tuple[int, float]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        return sum(1 for _ in container.decode(video=0)), float(rate or 0)


def test_the_video_recorder_works(tmp_path: Path) -> None:
    def episode(env: Any) -> None:
        env.reset(seed=0)
        for _ in range(3):
            env.step(env.action_space.sample())

    for mode in ("rgb_array", "rgb_array_list"):
        env = gym.make("sparks/Retake-v0", problem=problem(), steps=3, render_mode=mode)
        recorder = RecordVideo(env, str(tmp_path / mode), disable_logger=True)
        episode(recorder)
        recorder.render()  # records all frames of a list
        recorder.close()
        frames, rate = count_frames(tmp_path / mode / "rl-video-episode-0.mp4")
        assert rate == 12.5
        assert frames >= (4 if mode == "rgb_array" else 4 + FRAMES - 1)
    env = gym.make("sparks/Retake-v0", problem=problem(), steps=3, render_mode="rgb_array_list")
    episode(env)
    save_video(env.render(), str(tmp_path), fps=12.5, name_prefix="edit")  # type: ignore[arg-type]
    assert count_frames(tmp_path / "edit-episode-0.mp4") == (FRAMES, 12.5)


def test_a_loss_that_is_no_number_is_a_bad_one() -> None:
    task = problem()
    env = RetakeEnv(problem=task, gradient=True)
    env.reset()
    action = env.action_space.sample()
    task.objective.vlm = lambda log_odds: log_odds * np.nan  # type: ignore[method-assign]
    observation, gain, *_, info = env.step(action)
    assert (gain, observation[0]) == (-100, 100)
    assert env.observation_space.contains(observation)
    assert np.isnan(info["total"])
    assert not info["gradient"].any()
    (usual,) = problem().evaluate(action)
    assert reward(usual) == -usual.total


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"bound": np.inf}, "bound is inf"),
        ({"render_mode": "human"}, "render_mode is 'human'; choose rgb_array"),
        ({"settings": {}}, "not both"),
    ],
)
def test_unusable_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SparksError, match=message):
        RetakeEnv(problem=problem(), **options)


def test_actions_of_another_shape_are_refused() -> None:
    env = RetakeEnv(problem=problem())
    env.reset()
    with pytest.raises(SparksError, match=r"shape \[1, 3\], not \[1, 54\]"):
        env.step(np.zeros(3))
