"""Plugins that fail in any way are named in one line."""

from typing import Any

import numpy as np
import pytest
import torch

from sparks.errors import SparksError
from sparks.search.driver import solve
from sparks.search.problem import EditProblem
from sparks.spaces.base import FullSpace
from tests import toy


class Fails:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        problem.evaluate(torch.zeros(problem.dim))
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no\nluck"), AssertionError(), KeyError("x" * 9999)])
def test_a_solver_that_fails_is_named(error: Exception) -> None:
    with pytest.raises(SparksError, match=f"solver Fails failed with {type(error).__name__}"):
        solve(toy.problem("renders=3"), Fails(error))


def test_the_end_of_the_budget_and_of_memory_are_no_failures() -> None:
    class Goes(Fails):
        def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
            while True:
                problem.evaluate(torch.zeros(problem.dim))

    assert solve(toy.problem("renders=3"), Goes(ValueError())).stopped_by == "renders"
    ended = solve(toy.problem("renders=3"), Fails(torch.OutOfMemoryError("out of memory")))
    assert ended.stopped_by == "memory"


def test_critics_and_spaces_that_fail_are_named() -> None:
    class Critic(toy.Brightness):
        def log_odds(self, *arguments: Any, **options: Any) -> Any:
            return 1 / 0

    class Space(FullSpace):
        def decode(self, z: Any) -> Any:
            raise TypeError("what is z?")

    task = toy.problem("renders=3", critic=Critic())
    with pytest.raises(SparksError, match="critic Critic failed with ZeroDivisionError"):
        task.evaluate(torch.zeros(task.dim))
    task = toy.problem("renders=3")
    task.space = Space(task.space.start)  # type: ignore[attr-defined]
    with pytest.raises(SparksError, match="space Space failed with TypeError: what is z"):
        task.evaluate(torch.zeros(task.dim))


def test_an_editor_that_fails_is_named_wherever_it_renders() -> None:
    class Editor(toy.ToyEditor):
        def render(self, *arguments: Any, **options: Any) -> Any:
            raise RuntimeError("no viable backend")

    task = toy.problem("renders=3", editor=Editor())
    controls = task.space.decode(torch.zeros(1, task.dim))
    for use in (
        lambda: task.baseline,
        lambda: task.render(controls, task.guidance),
        lambda: task.evaluate(torch.zeros(task.dim)),
    ):
        with pytest.raises(SparksError, match="editor Editor failed with RuntimeError: no viable"):
            use()


def test_one_answer_for_several_videos_is_no_answer() -> None:
    class Lazy(toy.Brightness):
        def log_odds(self, *arguments: Any, **options: Any) -> Any:
            return super().log_odds(*arguments, **options).mean()[None]

    task = toy.problem("renders=9", critic=Lazy())
    with pytest.raises(SparksError, match=r"critic Lazy answers with shape \[1\] for 4 videos"):
        task.evaluate(torch.zeros(4, task.dim))
