import math
from typing import Any

import numpy as np
import pytest
import torch

from sparks.critics.sampling import MODES
from sparks.errors import SparksError
from sparks.search.budget import Budget, BudgetExhausted, Meter
from sparks.search.evaluation import Evaluation, Watch
from sparks.search.objective import Weights
from sparks.search.problem import EditProblem
from tests.toy import Blind, Brightness, ToyEditor, problem

ALL = Weights(vlm=1.0, latent_alpha=0.3, latent_v=0.2, lpips=5.0, temporal=40.0)


def candidates(count: int, dim: int = 54) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(5)) / 2


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("windows", [1, 3])
def test_the_gradient_is_that_of_the_total(reduction: str, windows: int) -> None:
    task = problem(weights=ALL, watch=Watch(4, windows=windows), reduction=reduction)
    z = candidates(1)
    gradient = task.evaluate(z, gradient=True)[0].gradient
    assert gradient is not None
    step = torch.randn(54, generator=torch.Generator().manual_seed(6)) * 1e-2
    ends = []
    for sign in (-1, 1):
        other = problem(weights=ALL, watch=Watch(4, windows=windows), reduction=reduction)
        ends.append(other.evaluate(z + sign * step)[0].total)
    assert (ends[1] - ends[0]) / 2 == pytest.approx(float(gradient @ step), rel=2e-2)


def test_terms_add_up_and_zero_weights_are_left_out() -> None:
    result = problem(weights=ALL).evaluate(candidates(1))[0]
    assert list(result.losses.terms) == ["vlm", "lpips", "temporal", "latent_alpha", "latent_v"]
    assert result.total == pytest.approx(sum(result.losses.terms.values()))
    assert result.losses.terms["vlm"] == pytest.approx(-math.log(result.p_yes + 1e-8), rel=1e-5)
    bare = problem(weights=Weights(latent_alpha=0, latent_v=0, lpips=0, temporal=0))
    assert list(bare.evaluate(candidates(1))[0].losses.terms) == ["vlm"]


def test_the_start_is_the_baseline() -> None:
    task = problem(weights=ALL)
    start = task.evaluate(np.zeros(54), frames=True)[0]
    assert start.frames is not None
    assert torch.equal(start.frames, task.baseline)
    terms = {name: value for name, value in start.losses.terms.items() if name != "vlm"}
    assert set(terms.values()) == {0.0}


def test_a_batch_equals_its_candidates_one_by_one() -> None:
    z = candidates(3)
    together = problem(weights=ALL).evaluate(z, gradient=True)
    single = problem(weights=ALL)
    for row, expected in enumerate(together):
        alone = single.evaluate(z[row], gradient=True)[0]
        assert alone.index == expected.index == row
        assert alone.total == pytest.approx(expected.total, rel=1e-5)
        assert alone.gradient is not None
        assert expected.gradient is not None
        assert torch.allclose(alone.gradient, expected.gradient, atol=1e-6)


def test_one_backward_through_the_renderer_and_every_call_counted() -> None:
    editor, critic = ToyEditor(), Brightness()
    task = problem(weights=ALL, editor=editor, critic=critic, watch=Watch(4, windows=3))
    task.evaluate(candidates(2), gradient=True)
    assert editor.renders == [1, 2]  # the baseline, then the batch
    assert len(critic.asked) == 3
    spent = task.meter.spent()
    wall_clock = spent.pop("wall_clock")
    assert wall_clock > 0
    assert spent == {
        "qwen_calls": 6,
        "renders": 2,
        "denoiser_forwards": 2,
        "denoiser_backwards": 2,
    }


def test_the_baseline_is_made_once_and_uncharged() -> None:
    editor = ToyEditor()
    task = problem(weights=ALL, editor=editor)
    for _ in range(2):
        task.evaluate(candidates(1))
    assert task.meter.renders == 2
    assert task.meter.denoiser_forwards == 2
    assert editor.forwards == 3


def test_the_budget_stops_before_the_batch_that_exceeds_it() -> None:
    editor = ToyEditor()
    task = problem("qwen_calls=7", editor=editor, weights=Weights(lpips=0, temporal=0))
    task.evaluate(candidates(4))
    with pytest.raises(BudgetExhausted):
        task.evaluate(candidates(4))
    assert editor.renders == [4]
    task.evaluate(candidates(3))
    assert task.meter.qwen_calls == 7


def test_noise_is_fixed_unless_a_seed_is_given() -> None:
    task = problem(weights=ALL)
    first, again = (task.evaluate(candidates(1))[0] for _ in range(2))
    other = task.evaluate(candidates(1), seed=9)[0]
    assert first.total == again.total
    assert (first.seed, other.seed) == (3, 9)
    assert other.total != first.total


def test_random_windows_repeat_in_a_replay() -> None:
    asked = []
    for _ in range(2):
        critic = Brightness()
        task = problem(critic=critic, watch=Watch(4, windows=3))
        for _ in range(3):
            task.evaluate(candidates(1))
        asked.append(critic.asked)
    assert asked[0] == asked[1]
    assert len({indices for _, indices, _ in asked[0]}) > 2


@pytest.mark.parametrize("sampling", MODES)
def test_any_frames_are_asked_about_in_the_windows_of_an_evaluation(sampling: str) -> None:
    critic = Brightness()
    task = problem(critic=critic, watch=Watch(4, sampling, windows=3))
    start = task.evaluate(candidates(1), frames=True)[0]
    batch = task.evaluate(candidates(3), frames=True)
    assert [each.batch for each in (start, *batch)] == [0, 1, 1, 1]
    for evaluation in (start, *batch):
        assert evaluation.frames is not None
        assert task.ask(evaluation.frames, evaluation) == pytest.approx(evaluation.p_yes, abs=1e-6)
    assert task.ask(start.frames) == task.ask(start.frames, start)
    windows = [[indices for _, indices, _ in critic.asked[first : first + 3]] for first in (0, 3)]
    assert windows[0] != windows[1]
    assert task.meter.qwen_calls == 12


def test_a_render_without_a_gradient_is_refused_when_one_is_wanted() -> None:
    class Cut(ToyEditor):
        def render(self, *arguments: Any, **options: Any) -> torch.Tensor:
            return super().render(*arguments, **options).detach()

    task = problem(editor=Cut())
    assert task.evaluate(candidates(1))[0].p_yes == problem().evaluate(candidates(1))[0].p_yes
    with pytest.raises(SparksError, match="no gradient reaches the frames"):
        task.evaluate(candidates(1), gradient=True)


def test_frames_and_gradient_come_on_demand_and_observers_see_all() -> None:
    task = problem()
    seen: list[Evaluation] = []
    task.observers.append(seen.extend)
    result = task.evaluate(candidates(2))[1]
    assert result.gradient is None
    assert result.frames is None
    assert seen[1].frames is not None
    assert seen[1].z_sha256 == result.z_sha256
    assert seen[0].z_sha256 != result.z_sha256


@pytest.mark.parametrize("shape", [(53,), (2, 53), (1, 1, 54), (0, 54)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SparksError, match=r"needs \[B, 54\]"):
        problem().evaluate(torch.zeros(shape))


def test_a_blind_critic_gives_scores_but_no_gradient() -> None:
    task = problem(critic=Blind())
    assert task.evaluate(candidates(1))[0].p_yes > 0
    with pytest.raises(SparksError, match="no gradient"):
        task.evaluate(candidates(1), gradient=True)


def latent_terms(task: EditProblem, *batches: int) -> list[float]:
    """The term of one and the same candidate, evaluated in batches of so many."""
    scored = [task.evaluate(candidates(1).expand(size, -1)) for size in batches]
    return [each.losses.terms["latent_v"] for batch in scored for each in batch]


@pytest.mark.parametrize(
    ("schedule", "multipliers"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.1, 0.825, 1.55, 2.275, 3.0]),
        ("cosine_increase", [0.1, 0.52469513, 1.55, 2.57530487, 3.0]),
    ],
)
@pytest.mark.parametrize(
    ("budget", "windows"), [("renders=5", 1), ("qwen_calls=5", 1), ("qwen_calls=17", 3)]
)
def test_latent_weights_grow_as_in_the_authors_code(
    schedule: str, multipliers: list[float], budget: str, windows: int
) -> None:
    (plain,) = latent_terms(problem(weights=ALL), 1)
    watch = Watch(4, windows=windows)
    task = problem(budget, weights=ALL, watch=watch, latent_schedule=schedule)
    terms = latent_terms(task, 1, 1, 1, 1, 1)
    assert [term / plain for term in terms] == pytest.approx(multipliers, rel=1e-5)
    with pytest.raises(BudgetExhausted):
        task.evaluate(candidates(1))


def test_a_batch_has_the_weights_of_its_last_candidate() -> None:
    (plain,) = latent_terms(problem(weights=ALL), 1)
    task = problem("renders=9", weights=ALL, latent_schedule="linear")
    terms = latent_terms(task, 1, 4, 4)
    expected = [0.1, *[0.1 + 2.9 / 2] * 4, *[3.0] * 4]
    assert [term / plain for term in terms] == pytest.approx(expected, rel=1e-5)


def test_seconds_move_a_position_too() -> None:
    meter = Meter(Budget(wall_clock=10.0, renders=11), renders=2, wall_clock=8.0)
    assert meter.position(1) == 0.8
    meter.wall_clock = 1.0
    assert meter.position(1) == 0.2
    assert Meter(Budget(wall_clock=10.0), renders=2, wall_clock=5.0).position(3) == 0.5
    assert Meter(renders=2).position(1) == 0
    assert Meter(Budget(renders=1)).position(1) == 0
