"""The conformance checks: what is good passes, and each promise broken is found."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sparks import registry
from sparks.editors import LTX2Editor
from sparks.editors.controls import Controls
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.search.protocols import AskTell, Solver
from sparks.spaces.base import FullSpace
from sparks.testing import check_critic, check_editor, check_solver, check_space
from tests.editors.conftest import make_clip, write_model
from tests.toy import problem


class Brightness:
    """log odds = how much brighter than grey the video is."""

    differentiable = True

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        chosen = frames if indices is None else frames[:, list(indices)]
        return chosen.mean((1, 2, 3, 4)) - 0.5


class Hard(Brightness):
    differentiable = False

    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).detach().sign()


class Scalar(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).mean()


class Double(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).double()


class Noisy(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt) + torch.rand(len(frames))


class Relative(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        odds = super().log_odds(frames, prompt)
        return odds - odds.mean()


class Detached(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).detach()


class Infinite(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt) / 0


class Deaf(Brightness):
    """Does not know of windows."""

    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt, indices)[: 1 if indices else None]


class Free(Brightness):
    calls = 0


class Writing(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames.mul_(0.5), prompt)


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("critic", [Brightness(), Hard()])
def test_good_critics_pass(critic: Brightness, frames: Tensor) -> None:
    check_critic(critic, frames, "is it bright?")


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (Scalar(), "one per video"),
        (Double(), "float64"),
        (Noisy(), "the same call"),
        (Relative(), "one by one"),
        (Detached(), "no gradient"),
        (Infinite(), "not finite"),
        (Writing(), "changed the frames"),
        (Deaf(), "told which frames"),
        (Free(), "calls is 0"),
    ],
)
def test_bad_critics_fail(critic: Brightness, message: str, frames: Tensor) -> None:
    with pytest.raises(AssertionError, match=message):
        check_critic(critic, frames, "is it bright?")


# --- solvers


class Walk(AskTell):
    """A random walk that remembers where it is."""

    def __init__(self) -> None:
        self.first: Tensor | None = None

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        self.z, self.rng = torch.zeros(problem.dim), rng

    def ask(self) -> Tensor:
        return self.z.clone()[None]

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        self.z += self.step()

    def step(self) -> Tensor:
        return torch.from_numpy(self.rng.standard_normal(len(self.z))).float() / 10


class Restless(Walk):
    def step(self) -> Tensor:
        return torch.randn(len(self.z)) / 10


class Overwriting(Walk):
    def ask(self) -> Tensor:
        return self.z[None]


class Elsewhere(Walk):
    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        problem.evaluate(torch.ones(problem.dim))


class Idle(Walk):
    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        pass


class Greedy(Walk):
    def ask(self) -> Tensor:
        return self.z.repeat(4, 1)


class Stubborn(Walk):
    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        while True:
            with contextlib.suppress(Exception):
                problem.evaluate(torch.zeros(problem.dim))


class Descent(Walk):
    """Momentum, all of it saved."""

    needs_gradient = True

    def setup(self, problem: EditProblem, rng: np.random.Generator) -> None:
        super().setup(problem, rng)
        self.speed = torch.zeros(problem.dim)

    def tell(self, evaluations: list[Evaluation], progress: float) -> None:
        gradient = evaluations[-1].gradient
        assert gradient is not None
        self.speed = 0.9 * self.speed - 0.1 * gradient
        self.z += self.speed

    def state_dict(self) -> dict[str, Any]:
        return {"z": self.z, "speed": self.speed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.z, self.speed = state["z"], state["speed"]


class Forgetful(Descent):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.z = state["z"]


class Opaque(Descent):
    def state_dict(self) -> dict[str, Any]:
        return {"z": self.z, "speed": self.speed, "rng": self.rng}


def task() -> EditProblem:
    return problem("qwen_calls=6")


@pytest.mark.parametrize("solver", [Walk, Descent, registry.solvers.get("adam")])
def test_good_solvers_pass(solver: type[Solver]) -> None:
    check_solver(solver, task)


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Restless, "draw every random number from rng"),
        (Overwriting, "z of evaluation 1 was overwritten"),
        (Elsewhere, "the first evaluation is not z = 0"),
        (Idle, "evaluated nothing"),
        (Greedy, "leaves 1 evaluations"),
        (Stubborn, "goes on after BudgetExhausted"),
        (Forgetful, "is not what it would have been"),
        (Opaque, "state holds a Generator"),
    ],
)
def test_bad_solvers_fail(solver: type[Solver], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_solver(solver, task)


def test_a_solver_cannot_be_checked_without_a_count() -> None:
    with pytest.raises(AssertionError, match="needs a budget on qwen_calls or renders"):
        check_solver(Walk, problem)


# --- spaces


def controls() -> Controls:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.randn(1, 2, 5, 3, generator=generator)
    return Controls(alpha, torch.zeros(1, 4, 6))


class Shifted(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        return super().decode(z + 1)


class Frozen(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        return super().decode(0 * z)


class Numb(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        return super().decode(z.detach())


class Lively(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        return super().decode(z + 1e-3 * torch.randn(1))


class Social(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        return super().decode(z * len(z) - z.sum(0) * z.any(1, keepdim=True))


class Flat(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        moved = super().decode(z)
        return Controls(moved.alpha.flatten(1), moved.delta_v)


class Scaling(FullSpace):
    def decode(self, z: Tensor) -> Controls:
        return super().decode(z.mul_(0.5))


class Lost(FullSpace):
    def encode(self, controls: Controls) -> Tensor:
        return torch.zeros_like(super().encode(controls))


class Empty(FullSpace):
    dim = 0


@pytest.mark.parametrize("name", registry.spaces.names())
def test_every_space_keeps_its_promises(name: str) -> None:
    start = controls()
    check_space(registry.spaces.get(name)(start), start)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Shifted, r"decode\(0\) is not the start"),
        (Frozen, "another z is the start"),
        (Numb, "no gradient"),
        (Lively, "differs from call to call"),
        (Social, "a batch and alone"),
        (Flat, r"alpha \(3, 30\), not \(3, 2, 5, 3\)"),
        (Scaling, "changed the z"),
        (Lost, "away from controls"),
        (Empty, "nothing to search"),
    ],
)
def test_bad_spaces_fail(space: type[FullSpace], message: str) -> None:
    start = controls()
    with pytest.raises(AssertionError, match=message):
        check_space(space(start), start)


# --- editors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


class Loud(LTX2Editor):
    def render(self, *given: Any, **options: Any) -> Tensor:
        return 2 * super().render(*given, **options)


class Constant(LTX2Editor):
    def render(self, conditioning: Any, controls: Controls, **options: Any) -> Tensor:
        still = Controls(0 * controls.alpha, 0 * controls.delta_v)
        return super().render(conditioning, still, **options)


class Detached(LTX2Editor):
    def render(self, *given: Any, **options: Any) -> Tensor:
        return super().render(*given, **options).detach().requires_grad_("gradient" in options)


class Tuned(LTX2Editor):
    def start(self, conditioning: Any) -> Controls:
        start = super().start(conditioning)
        return Controls(start.alpha, start.delta_v + 1)


class Mute(LTX2Editor):
    def decode_audio(self, alpha: Tensor) -> tuple[Tensor, int]:
        return super().decode_audio(alpha)[0][0], 1


class Nothing:
    forwards = backwards = 0


@pytest.mark.parametrize(
    ("editor", "message"),
    [
        (Loud, r"not within \[0, 1\]"),
        (Constant, "other controls make the same frames"),
        (Detached, "a backward is not counted"),
        (Tuned, "delta_v of the start is not zero"),
        (Mute, "decode_audio makes"),
        (lambda folder: Nothing(), "the editor lacks spatial_multiple, temporal_compression"),
    ],
)
def test_bad_editors_fail(folder: Path, editor: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_editor(editor(folder), make_clip(9), "a red ball jumps")


def test_the_editor_keeps_its_promises(folder: Path) -> None:
    check_editor(LTX2Editor(folder), make_clip(9), "a red ball jumps")
