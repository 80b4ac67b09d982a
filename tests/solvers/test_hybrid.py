"""A batch around the start, then Adam."""

import numpy as np
import pytest
import torch

from sparks.errors import SparksError
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem
from sparks.solvers.hybrid import Hybrid
from sparks.solvers.ngd import normalised
from sparks.spaces.low import TemporalSpace
from tests.solvers.quadratic import left, quadratic
from tests.toy import problem


def watched(budget: str, solver: Hybrid, dim: int | None = 16) -> list[list[Evaluation]]:
    task = quadratic(budget, dim=dim)
    batches: list[list[Evaluation]] = []
    task.observers.append(lambda batch: batches.append(list(batch)))
    solve(task, solver)
    return batches


def test_it_looks_down_the_gradient_and_around_once() -> None:
    batches = watched("qwen_calls=12", Hybrid(line=3, population=2, reach=0.4, sigma=0.1))
    assert [len(batch) for batch in batches] == [1, 5, 1, 1, 1, 1, 1, 1]
    assert batches[0][0].gradient is not None
    down = -normalised(batches[0][0].gradient)
    for evaluation, step in zip(batches[1], (0.4, 0.2, 0.1), strict=False):
        assert torch.allclose(evaluation.z, step * down, atol=1e-6)
    around = torch.stack([evaluation.z for evaluation in batches[1][3:]])
    assert 0.05 < around.std() < 0.15


@pytest.mark.parametrize(("reach", "wins"), [(0.5, True), (100.0, False)])
def test_adam_goes_on_from_the_best_that_was_seen(reach: float, wins: bool) -> None:
    start, batch, again, after = watched(
        "qwen_calls=6", Hybrid(line=1, population=2, reach=reach, sigma=50, lr=0.01)
    )[:4]
    best = min(start + batch, key=lambda each: each.total)
    assert (best is batch[0]) == wins
    assert all(each.gradient is None for each in batch)  # looking around needs none
    assert torch.equal(again[0].z, best.z)
    step = after[0].z - best.z
    assert again[0].gradient is not None
    assert step.abs().max() < 0.011
    assert (step * again[0].gradient).sum() < 0


def test_noise_is_searched_too_and_adam_keeps_the_best_of_it() -> None:
    task = problem("qwen_calls=12")
    batches: list[list[Evaluation]] = []
    task.observers.append(lambda batch: batches.append(list(batch)))
    outcome = solve(task, Hybrid(population=6, sigma=0.01, lr=1e-4, vary_noise=True))
    start, batch, *after = batches
    assert start[0].seed == task.conditioning.seed
    assert len({each.seed for each in batch}) == 6
    best = min(start + batch, key=lambda each: each.total)
    assert {each.seed for (each,) in after} == {best.seed} == {outcome.best.seed}
    alone = task.editor.render(
        task.conditioning.with_noise(best.seed),
        task.space.decode(best.z[None]),
        sampling=task.sampling,
    )
    p_yes = task.critic.log_odds(alone, task.prompt).sigmoid()
    assert float(p_yes) == pytest.approx(best.p_yes, abs=1e-2)


def test_moves_start_from_the_landmarks_too() -> None:
    task = problem()
    start = task.editor.start(task.conditioning)
    silence = torch.full_like(start.alpha, -1)
    task.space = TemporalSpace(start, frequencies=2, rank=2, fade=True, silence=silence)
    solver = Hybrid(population=6, sigma=0.5, nearest=0)
    solver.setup(task, np.random.default_rng(0))
    mark = task.space.landmarks[0]
    away = torch.stack([solver.moves[::2], solver.moves[1::2] - mark]).square().mean(2)
    assert not away[:, 0].any()  # nothing but the place itself
    assert (away[:, 1] > 0).all()
    assert torch.allclose(task.space.decode(mark[None]).alpha, silence, atol=1e-6)


def test_the_batch_fits_what_is_left() -> None:
    assert [len(batch) for batch in watched("qwen_calls=4", Hybrid())] == [1, 3]
    assert [len(batch) for batch in watched("qwen_calls=1", Hybrid())] == [1]


def test_it_descends_a_quadratic() -> None:
    solver = Hybrid(lr=0.1, line=4, population=4, sigma=0.3)
    assert left(solve(quadratic("qwen_calls=40"), solver)) < 0.2


def test_random_moves_of_a_wide_space_are_smooth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparks.solvers.hybrid.SMALL", 20)
    task: EditProblem = quadratic(dim=None)
    solver = Hybrid(population=3, line=0)
    solver.setup(task, np.random.default_rng(0))
    controls = task.space.decode(solver.moves)
    moved = controls.alpha - task.space.decode(torch.zeros(1, task.dim)).alpha
    spectrum = torch.fft.rfft(torch.cat([moved, moved.flip(2)], dim=2), dim=2).abs().square()
    assert moved.abs().max() > 0.05
    assert spectrum[:, :, :4].sum() > 0.999 * spectrum.sum()


def test_what_looks_nowhere_is_refused() -> None:
    with pytest.raises(SparksError, match="at least one candidate"):
        Hybrid(line=0, population=0)
    with pytest.raises(SparksError, match="reach is 0"):
        Hybrid(reach=0)


def test_states_of_0_1_0_are_gone_on_from() -> None:
    task = quadratic("qwen_calls=9", dim=4)
    solver = Hybrid(population=3)
    solver.setup(task, np.random.default_rng(0))
    state = solver.state_dict()
    assert {"noise", "needs_gradient"} <= state.keys()
    for name in ("noise", "needs_gradient"):  # it had all evaluated with their gradients
        del state[name]
    solver.load_state_dict(state)
    assert solver.noise == task.conditioning.seed
    assert solver.needs_gradient
