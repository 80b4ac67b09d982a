"""CMA-ES and the rest of nevergrad."""

import re

import nevergrad as ng
import numpy as np
import pytest
import torch
from torch import Tensor

from sparks.errors import SparksError
from sparks.registry import solvers
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.search.objective import Objective, Weights
from sparks.search.problem import EditProblem
from sparks.solvers.evolution import CMA, HORIZON, Nevergrad
from sparks.solvers.sampling import RandomSearch
from tests.solvers.quadratic import left, median_left, quadratic


def candidates(task: EditProblem) -> list[list[Tensor]]:
    """What is evaluated together, filled as a search goes on."""
    batches: list[list[Tensor]] = []
    task.observers.append(lambda batch: batches.append([each.z for each in batch]))
    return batches


def test_cma_clearly_beats_random_search_on_a_quadratic() -> None:
    found, lucky = median_left(CMA), median_left(RandomSearch)
    assert found < 0.15
    assert found < lucky / 3


def test_generations_are_whole_and_the_rest_is_spent_on_the_mean_and_around_it() -> None:
    task = quadratic("qwen_calls=30")
    batches = candidates(task)
    solver = CMA(batch=8)
    outcome = solve(task, solver)
    assert outcome.stopped_by == "qwen_calls"
    assert [len(batch) for batch in batches] == [1, 8, 8, 8, 5]
    mean = torch.from_numpy(solver.optimizer.es.mean).float()
    assert torch.equal(batches[-1][0], mean)
    assert mean.any()
    assert len({tuple(z.tolist()) for z in batches[-1]}) == 5


def test_something_is_always_left_for_the_mean() -> None:
    task = quadratic("qwen_calls=17")
    batches = candidates(task)
    solve(task, CMA(batch=8))
    assert [len(batch) for batch in batches] == [1, 8, 8]
    task = quadratic("qwen_calls=5")
    batches = candidates(task)
    solve(task, CMA(batch=8))
    assert [len(batch) for batch in batches] == [1, 4]
    assert all(z.any() for z in batches[1])  # a mean that is still the start is not asked again


def test_the_first_generation_has_the_deviation_asked_for() -> None:
    task = quadratic("qwen_calls=402", dim=None)
    batches = candidates(task)
    solve(task, CMA(batch=400, sigma=0.25))
    assert torch.stack(batches[1]).std() == pytest.approx(0.25, rel=0.05)


def test_a_plateau_does_not_start_the_search_again() -> None:
    task = quadratic("qwen_calls=300")
    task.objective = Objective(Weights(0, 0, 0, 0, 0), task.objective.start)
    solver = CMA()
    solve(task, solver)
    assert solver.optimizer.es.countiter == solver.generations == 37


def test_a_wide_space_is_searched_by_variances_with_a_small_archive() -> None:
    from sparks.editors.controls import Controls
    from sparks.spaces.base import FullSpace

    task = quadratic("qwen_calls=34")
    task.space = FullSpace(Controls(torch.zeros(1, 8, 50, 50), torch.zeros(1, 2, 3)))
    solver = CMA()
    solver.setup(task, np.random.default_rng(0))
    solver.optimizer.pruning.max_len = 4  # as for millions of coordinates
    for _ in range(6):
        asked = solver.ask()
        solver.tell([evaluation(z, float(z.square().mean())) for z in asked], 0.0)
    assert asked.shape == (8, 20_006)
    assert solver.separate
    assert solver.optimizer.es.countiter == 6
    assert len(solver.optimizer.archive) <= 5
    with pytest.raises(SparksError, match="cma's matrix over 20006"):
        CMA(diagonal=False).setup(task, np.random.default_rng(0))


def evaluation(z: Tensor, total: float) -> Evaluation:
    from sparks.search.objective import Losses

    return Evaluation(index=1, z=z, losses=Losses({"vlm": total}), p_yes=0.5, seed=0)


def test_losses_that_are_no_number_are_the_worst() -> None:
    task = quadratic("qwen_calls=34")
    solver = CMA(batch=4)
    solver.setup(task, np.random.default_rng(0))
    solver.tell([evaluation(torch.zeros(16), 1.0)], 0.0)
    asked = solver.ask()
    totals = [float("nan"), 1.0, 2.0, float("inf")]
    solver.tell([evaluation(z, total) for z, total in zip(asked, totals, strict=True)], 0.0)
    mean = torch.from_numpy(solver.optimizer.es.mean).float()
    good, bad = asked[1:3].mean(0), asked[[0, 3]].mean(0)
    assert (mean - good).norm() < (mean - bad).norm()


@pytest.mark.parametrize("variant", ["OnePlusOne", "TwoPointsDE", "NGOpt", "SPSA"])
def test_any_optimiser_of_nevergrad_can_be_named(variant: str) -> None:
    task = quadratic("qwen_calls=60")
    solver = solvers.get(f"nevergrad/{variant}")()
    outcome = solve(task, solver, seed=1)
    assert outcome.evaluations == 60
    assert outcome.stopped_by == "qwen_calls"
    assert left(outcome) < 1


NEEDY = ["NGOpt", "NGOptRW", "Shiwa", "NgIohTuned", "ScrHammersleySearch", "MultiCMA"]
HASTY = ["EDA", "NgDS3", "ScrHammersleySearchPlusMiddlePoint"]  # once failed with counts, too
LACKING = ["NLOPT_GN_DIRECT", "PCABO80"]  # need what is not installed
SAMPLE = sorted(ng.optimizers.registry)[7::45]


@pytest.mark.parametrize("variant", [*NEEDY, *HASTY])
def test_an_optimiser_that_plans_ahead_is_told_for_how_many(variant: str) -> None:
    for budget, limit in (("qwen_calls=12", "qwen_calls"), ("wall_clock=0.2s", "wall_clock")):
        task = quadratic(budget)
        batches = candidates(task)
        outcome = solve(task, Nevergrad(variant=variant), seed=1)
        assert outcome.evaluations == sum(map(len, batches)) > 1
        if outcome.stopped_by != limit:
            assert (outcome.stopped_by, limit) == ("solver", "wall_clock")
            assert outcome.evaluations > HORIZON - 8


@pytest.mark.parametrize("variant", [*SAMPLE, *LACKING])
def test_what_an_optimiser_raises_is_a_line_that_names_it(variant: str) -> None:
    for budget in ("qwen_calls=12", "wall_clock=0.1s"):
        end = how_it_ends(variant, budget)
        if variant in LACKING or "No module" in end or "ImportError" in end:
            assert re.match(rf"nevergrad's {variant} fails with \w+: [^\n]+; install", end)
        else:
            assert end in ("12 by qwen_calls", "by wall_clock", "by solver")


def how_it_ends(variant: str, budget: str) -> str:
    try:
        outcome = solve(quadratic(budget), Nevergrad(variant=variant), seed=1)
    except SparksError as error:
        return str(error)
    count = f"{outcome.evaluations} " if budget.startswith("qwen_calls") else ""
    return f"{count}by {outcome.stopped_by}"


def test_an_optimiser_that_fails_later_ends_the_search_with_what_there_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hapless(Nevergrad):
        def draw(self, count: int) -> Tensor:
            if self.problem.meter.renders > 10:
                self.optimizer.ask = None
            return super().draw(count)

    outcome = solve(quadratic("qwen_calls=30"), Hapless(variant="TwoPointsDE", batch=4))
    assert (outcome.evaluations, outcome.stopped_by) == (13, "solver")
    assert "the search ends here: nevergrad's TwoPointsDE fails with TypeError: " in caplog.text
    assert outcome.best.total < outcome.start.total


def test_what_cannot_search_is_refused() -> None:
    with pytest.raises(SparksError, match=r"no optimiser 'TwoPointDE'.*nevergrad/TwoPointsDE"):
        Nevergrad(variant="TwoPointDE")
    with pytest.raises(SparksError, match=r"no optimiser ''.*--solver nevergrad/"):
        Nevergrad()
    with pytest.raises(SparksError, match="batch is 0"):
        Nevergrad(variant="SPSA", batch=0)
    with pytest.raises(SparksError, match="batch is 1"):
        CMA(batch=1)
    with pytest.raises(SparksError, match="sigma is 0"):
        CMA(sigma=0)
    with pytest.raises(SparksError, match="2 or more coordinates"):
        solve(quadratic(dim=1), CMA())
