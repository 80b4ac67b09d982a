"""Environments whose task a reset changes."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from sparks.envs import building
from sparks.envs.retake import RetakeEnv
from sparks.envs.sb3 import RetakeVecEnv
from sparks.envs.vector import RetakeVectorEnv
from sparks.errors import SparksError
from sparks.media.clip import read_clip, write_clip
from sparks.pocket.tasks import find_task
from sparks.search.budget import BudgetExhausted
from tests.toy import problem

QUICK = {
    "sampling": {"num_inference_steps": 2, "grad_steps": 1},
    "objective": {"weights": {"lpips": 0, "temporal": 0}},
    "clip": {"size": [48, 48], "num_frames": 17},
}
NAME = "dev40/01-slide-left"
TASK = find_task(NAME)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "slide.mp4"
    TASK.source.write(path, TASK.static_prompt)
    return path


def asked(video: Path) -> dict[str, Any]:
    """The task as a mapping."""
    return {
        "video": video,
        "prompt": TASK.prompt,
        "static_prompt": TASK.static_prompt,
        "prefix_frames": TASK.prefix_frames,
    }


def test_a_task_is_named_or_spelled_out_and_stays_until_another_comes(video: Path) -> None:
    env = RetakeEnv(settings=QUICK, steps=2)
    action = np.linspace(-1, 1, env.problem.dim, dtype=np.float32)
    own = env.problem.prompt

    def rewards(options: Any = None) -> list[float]:
        observation, info = env.reset(options=options)
        assert not observation.any()
        assert info == {}
        return [float(env.step(action)[1]), float(env.step(action)[1])]

    first = rewards()
    named = rewards({"task": NAME})
    assert (env.problem.prompt, TASK.prompt == own) == (TASK.prompt, False)
    assert named != first
    assert rewards() == named
    assert rewards({"task": asked(video)}) == pytest.approx(named)
    assert rewards({"task": {"prompt": own}}) == first  # of the bundled clip
    alone = RetakeEnv(settings=QUICK | asked(video) | {"video": str(video)}, steps=2)
    alone.reset()
    assert [alone.step(action)[1], alone.step(action)[1]] == pytest.approx(named)


def test_one_budget_holds_for_all_tasks() -> None:
    env = RetakeEnv(settings=QUICK | {"budget": "renders=2"})
    for task in ("03-grow", NAME):
        env.reset(options={"task": task})
        env.step(env.action_space.sample())
    env.reset(options={"task": "03-grow"})
    with pytest.raises(BudgetExhausted):
        env.step(env.action_space.sample())
    assert env.problem.meter.renders == 2


def test_the_clock_stands_still_while_a_task_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    now, prepare = [0.0], building.prepare

    def slow(*arguments: Any, **options: Any) -> Any:
        now[0] += 500
        return prepare(*arguments, **options)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    env = RetakeEnv(settings=QUICK)
    env.step(env.action_space.sample())
    monkeypatch.setattr(building, "prepare", slow)
    env.reset(options={"task": NAME})
    env.step(env.action_space.sample())
    assert now[0] == 500
    assert (env.problem.meter.renders, env.problem.meter.wall_clock) == (2, 0)


def test_what_cannot_be_turned_to_is_refused_and_nothing_changes(
    video: Path, tmp_path: Path
) -> None:
    whole = read_clip(video)
    write_clip(tmp_path / "short.mp4", whole.cut(9))
    env = RetakeEnv(settings=QUICK | {"space": {"name": "full"}})
    env.reset()
    before = env.problem
    tasks: list[tuple[Any, str]] = [
        ("dev40/99-fly", "task '99-fly' is unknown: choose from 00-"),
        ("dev41/00-jump", "task list 'dev41' is unknown: choose from heldout10, pocket25, dev40"),
        ({"video": "gone.mp4", "prompt": "it"}, "no video file at gone.mp4"),
        ({"video": str(video)}, "no prompt for"),
        (
            {"prompt": "a red ball jumps", "space": {"name": "full"}},
            "task.space is unknown; a task",
        ),
        (7, "task 7 is no name of one and no mapping"),
        (asked(tmp_path / "short.mp4"), r"has \d+ coordinates, the environment \d+; .*'random'"),
    ]
    for task, message in tasks:
        with pytest.raises(SparksError, match=message):
            env.reset(options={"task": task})
        assert env.problem is before
    env.step(env.action_space.sample())
    given = RetakeEnv(problem=problem())
    with pytest.raises(SparksError, match="task 03-grow: the environment was given a problem"):
        given.reset(options={"task": "03-grow"})
    given.reset(options={"whatever": 1})


@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_vectors_turn_to_a_task_together(mode: Any) -> None:
    envs = gym.make_vec("sparks/Retake-v0", 2, vectorization_mode=mode, settings=QUICK)
    rows = [[0.2], [-0.4]]
    actions = np.float32(np.broadcast_to(rows, envs.action_space.shape or ()))
    envs.reset(options={"task": NAME})
    rewards = envs.step(actions)[1]
    single = RetakeEnv(settings=QUICK)
    single.reset(options={"task": NAME})
    for action, reward in zip(actions, rewards, strict=True):
        single.reset()
        assert reward == pytest.approx(single.step(action)[1], abs=1e-4)
    inner = envs.unwrapped
    assert isinstance(inner, RetakeVectorEnv | SyncVectorEnv)


def test_a_batch_of_stable_baselines3_takes_its_task_from_its_options() -> None:
    env = RetakeVecEnv(2, settings=QUICK)
    own = env.problem.prompt
    env.set_options({"task": NAME})
    assert env.problem.prompt == own
    assert not env.reset().any()
    assert env.problem.prompt == TASK.prompt
    env.reset()
    assert env.problem.prompt == TASK.prompt
    env.set_options([{"task": NAME}, {"task": "03-grow"}])
    with pytest.raises(SparksError, match="options of a batch differ"):
        env.reset()
