"""What a look before a search renders, and what it reads off that."""

import numpy as np
import pytest
import torch

from sparks.runs.screening.probe import Effort, probe
from sparks.solvers.adam import Adam
from sparks.solvers.hybrid import Hybrid
from tests.toy import FRAMES, SIDE, Blind, problem

SOURCE = torch.linspace(0, 1, FRAMES)[:, None, None, None].expand(FRAMES, 3, SIDE, SIDE)


def test_it_renders_what_the_effort_says_on_a_meter_of_its_own() -> None:
    searched = problem("qwen_calls=5")
    seen, frames = probe(searched, Adam(), SOURCE, effort=Effort(noises=3, steps=2, draws=4))
    kinds = [look.kind for look in seen.looks]
    assert kinds == ["start", "noise", "noise", "step", "step", *["draw"] * 4]
    assert len(frames) == len(seen.looks) == seen.spent["renders"] == seen.spent["qwen_calls"]
    assert searched.meter.renders == 0
    assert searched.evaluate(torch.zeros(searched.dim))[0].index == 0


def test_motion_is_the_mean_change_and_a_leap_the_largest() -> None:
    seen, _ = probe(problem(), Adam(), SOURCE)
    assert seen.source == pytest.approx((1 / (FRAMES - 1), 1.0))
    jumping = SOURCE.clone()
    jumping[5:] += 1
    motion, leap = probe(problem(), Adam(), jumping)[0].source
    assert motion == pytest.approx(2 / (FRAMES - 1))
    assert leap == pytest.approx((1 + 1 / (FRAMES - 1)) / motion)


def test_the_first_step_goes_where_the_slope_says() -> None:
    searched = problem()
    seen, _ = probe(searched, Adam(), SOURCE, effort=Effort(noises=1, steps=1, draws=1))
    start, step = (np.log(look.p_yes / (1 - look.p_yes)) for look in seen.looks[:2])
    share = searched.space.rate / searched.space.sigma  # of the length that the slope is told for
    assert seen.slope is not None
    assert step - start == pytest.approx(share * seen.slope, rel=0.1)


def test_draws_are_those_that_hybrid_begins_with() -> None:
    solver = Hybrid(population=5, vary_noise=True)
    effort = Effort(noises=1, steps=0, draws=5)
    seen, _ = probe(problem(), solver, SOURCE, effort=effort, seed=9)
    beside = problem()
    solver.setup(beside, np.random.default_rng(9))
    moves = beside.evaluate(solver.moves, seed=solver.seeds)
    assert [look.p_yes for look in seen.of("draw")] == [each.p_yes for each in moves]


def test_a_critic_without_a_gradient_has_no_slope() -> None:
    seen, _ = probe(problem(critic=Blind()), Adam(), SOURCE)
    assert seen.slope is None
    assert not seen.of("step")
