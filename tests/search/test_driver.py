import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sparks.errors import SparksError
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.search.objective import Weights
from sparks.search.problem import EditProblem
from sparks.solvers.adam import Adam
from tests.toy import Brightness, problem

LIGHT = Weights(lpips=0, temporal=0)


class Script:
    """Evaluates given multiples of one direction."""

    def __init__(self, *steps: float, patience: int | None = None, batch: int = 1) -> None:
        self.steps, self.patience, self.batch = steps, patience, batch

    def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
        direction = problem_direction(problem)
        z = torch.stack([step * direction for step in self.steps])
        for chunk in z.split(self.batch):
            problem.evaluate(chunk)


def problem_direction(task: EditProblem) -> torch.Tensor:
    return task.editor.of_alpha.sum(1).repeat(2)[: task.dim] / 10  # type: ignore[attr-defined]


def test_adam_raises_the_answer_within_the_budget() -> None:
    task = problem("qwen_calls=20", weights=LIGHT)
    outcome = solve(task, Adam(lr=0.1))
    assert outcome.stopped_by == "qwen_calls"
    assert outcome.evaluations == 20
    assert outcome.start.index == 0
    assert not outcome.start.z.any()
    assert outcome.best.p_yes > outcome.start.p_yes + 0.3


def test_adam_is_adam_with_a_cosine() -> None:
    task = problem("qwen_calls=12", weights=LIGHT)
    seen: list[Evaluation] = []
    task.observers.append(seen.extend)
    solve(task, Adam(lr=0.05, patience=None, clip_norm=0.05))
    z = torch.zeros(54, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=0.05)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 12, eta_min=5e-4)
    other = problem(weights=LIGHT)
    for evaluation in seen:
        assert torch.allclose(evaluation.z, z.detach(), atol=1e-5)
        z.grad = other.evaluate(z.detach(), gradient=True)[0].gradient
        torch.nn.utils.clip_grad_norm_([z], 0.05)
        optimiser.step()
        cosine.step()


def test_adam_goes_on_from_its_state() -> None:
    states = []
    for split in (False, True):
        task = problem("qwen_calls=8", weights=LIGHT)
        solver = Adam(lr_schedule="constant")
        solver.setup(task, np.random.default_rng(0))
        for step in range(6):
            if split and step == 3:
                state = solver.state_dict()
                solver = Adam(lr_schedule="constant")
                solver.setup(task, np.random.default_rng(0))
                solver.load_state_dict(state)
            solver.tell(task.evaluate(solver.ask(), gradient=True), 0.0)
        states.append(solver.z)
    assert torch.equal(*states)


def test_same_seed_same_history() -> None:
    def history() -> list[tuple[str, float]]:
        rows: list[tuple[str, float]] = []
        task = problem("qwen_calls=6")
        solve(task, Adam(), listeners=[lambda e, _: rows.append((e.z_sha256, e.total))])
        return rows

    assert history() == history()


def test_the_start_can_win_and_the_best_is_kept_as_scored() -> None:
    task = problem(weights=LIGHT)
    outcome = solve(task, Script(0, -1, -2))
    assert outcome.best.index == 0
    assert outcome.stopped_by == "solver"
    task = problem(weights=LIGHT)
    outcome = solve(task, Script(0, 1, -1, batch=3))
    assert outcome.best.index == 1
    assert outcome.best.frames is not None
    again = task.evaluate(outcome.best.z, frames=True)[0]
    assert again.frames is not None
    assert torch.allclose(again.frames, outcome.best.frames, atol=1e-6)


def test_patience_counts_evaluations_since_the_best() -> None:
    outcome = solve(problem(weights=LIGHT), Script(0, 1, *[-1] * 10, patience=4))
    assert outcome.stopped_by == "patience"
    assert outcome.evaluations == 6


def test_a_new_best_must_be_better_by_min_delta() -> None:
    def search(min_delta: float) -> tuple[int, str]:
        script = Script(0, 0.1, 0.2, 0.22, 0.24, 0.26, patience=3)
        script.min_delta = min_delta  # type: ignore[attr-defined]
        outcome = solve(problem(weights=LIGHT), script)
        return outcome.best.index, outcome.stopped_by

    # Totals fall by 0.6 a step of 0.1, and so by 0.12 one of 0.02.
    assert search(0.0) == (5, "solver")
    assert search(0.2) == (4, "solver")
    assert search(0.5) == (2, "patience")
    assert search(9.0) == (0, "patience")


def test_listeners_hear_every_evaluation_and_the_best_so_far() -> None:
    heard: list[tuple[int, int, bool]] = []
    listener: Callable[[Evaluation, Evaluation], None] = lambda evaluation, best: heard.append(  # noqa: E731
        (evaluation.index, best.index, evaluation is best)
    )
    solve(problem(weights=LIGHT), Script(0, -1, 1, -2, batch=2), listeners=[listener])
    assert heard == [(0, 0, True), (1, 0, False), (2, 2, True), (3, 2, False)]
    assert json.dumps(heard)


def test_late_and_foreign_evaluations_cannot_win() -> None:
    class Slow(Brightness):
        def log_odds(self, frames, prompt, indices=None):  # type: ignore[no-untyped-def]
            import time

            time.sleep(0.1)
            return super().log_odds(frames, prompt, indices)

    outcome = solve(problem("wall_clock=0.15s", weights=LIGHT, critic=Slow()), Script(0, 1, 2))
    assert outcome.stopped_by == "wall_clock"
    assert outcome.evaluations == 2
    assert outcome.best.index == 0

    class OtherNoise(Script):
        def run(self, problem: EditProblem, rng: np.random.Generator) -> None:
            super().run(problem, rng)
            problem.evaluate(problem_direction(problem), seed=8)

    assert solve(problem(weights=LIGHT), OtherNoise(0)).best.index == 0

    class AnyNoise(OtherNoise):
        varies_noise = True

    task = problem(weights=LIGHT)
    best = solve(task, AnyNoise(0)).best
    assert (best.index, best.seed) == (1, 8)
    assert best.frames is not None
    controls = task.space.decode(best.z[None])
    again, own = (task.render(controls, task.guidance, seed) for seed in (best.seed, None))
    assert torch.equal(again, best.frames)
    assert not torch.equal(own, best.frames)


def test_losses_that_are_no_number_are_skipped_and_a_few_in_a_row_end_the_search() -> None:
    nan = float("nan")
    outcome = solve(problem(weights=LIGHT), Script(0, 1, nan, nan, 2, nan))
    assert (outcome.stopped_by, outcome.best.index, outcome.skipped) == ("solver", 4, 3)
    outcome = solve(problem(weights=LIGHT), Script(0, 1, nan, nan, float("inf"), 2))
    assert (outcome.stopped_by, outcome.best.index, outcome.skipped) == ("diverged", 1, 3)
    with pytest.raises(SparksError, match="loss of the start is no number"):
        solve(problem(weights=LIGHT), Script(nan, 0))


def test_unknown_schedules_are_refused() -> None:
    with pytest.raises(SparksError, match="cosine or constant"):
        Adam(lr_schedule="step")
