"""Several critics as one: weights, questions, windows, and what they cost."""

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.critics.composite import CompositeCritic, Part, any_of, overlapping
from sparks.errors import SparksError
from sparks.search.budget import BudgetExhausted
from sparks.search.evaluation import Watch
from sparks.settings.construct import construct
from sparks.settings.schema import Config
from sparks.testing import check_critic
from tests.toy import Blind, Brightness, problem


class Peak(Brightness):
    """Says yes to any bright pixel of the frames it looks at."""

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        super().log_odds(frames, prompt, indices)
        return 20 * (frames[:, list(indices or [0])].amax((1, 2, 3, 4)) - 0.5)


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(3, 12, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def test_it_keeps_the_promises_of_a_critic(frames: Tensor) -> None:
    parts = [Part(Brightness(), 2.0), Part(Peak(), -0.5, any_window=3)]
    check_critic(CompositeCritic(parts), frames, "it glows")


def test_a_weighted_mean_of_log_odds(frames: Tensor) -> None:
    bright, peak = Brightness(), Peak()
    pooled = CompositeCritic([Part(bright, 3.0), Part(peak, -1.0)]).log_odds(frames, "it", [2, 5])
    one, other = (critic.log_odds(frames, "it", [2, 5]) for critic in (bright, peak))
    assert torch.allclose(pooled, (3 * one - other) / 4)
    alone = CompositeCritic([Part(bright, 0.1)]).log_odds(frames, "it", [2, 5])
    assert torch.allclose(alone, one)


def test_every_part_is_asked_its_own_question_about_its_own_windows(frames: Tensor) -> None:
    critic = Brightness()
    parts = [Part(critic), Part(critic, prompt="slowly, {prompt}!", any_window=2)]
    composite = CompositeCritic(parts)
    composite.log_odds(frames, "it glows", range(6))
    assert critic.asked == [
        ("it glows", (0, 1, 2, 3, 4, 5), 3),
        ("slowly, it glows!", (0, 1, 2, 3), 3),
        ("slowly, it glows!", (2, 3, 4, 5), 3),
    ]
    assert composite.calls == 3
    assert CompositeCritic([Part(composite, any_window=4), Part(critic)]).calls == 13


def test_a_brief_event_is_found_in_any_window() -> None:
    frames = torch.full((1, 12, 3, 4, 4), 0.2)
    frames[:, 9:11] = 0.9
    whole, brief = (CompositeCritic([Part(Brightness(), any_window=n)]) for n in (1, 5))
    assert whole.log_odds(frames, "flash", range(12)) < -2
    assert brief.log_odds(frames, "flash", range(12)) > 0.5


@pytest.mark.parametrize("odds", [[-1.0, 0.5, 2.0], [-80.0, -85.0], [90.0, -3.0], [0.0], [-400.0]])
def test_noisy_or(odds: list[float]) -> None:
    """Against the definition in enough digits, and with a gradient everywhere."""
    values = torch.tensor(odds, requires_grad=True)
    result = any_of(values)
    with localcontext(prec=500):
        none = math.prod((1 / (1 + Decimal(value).exp()) for value in odds), start=Decimal(1))
        expected = float(((1 - none) / none).ln())
    assert result.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    result.backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert (values.grad >= 0).all()
    assert values.grad.max() > 0.5


@pytest.mark.parametrize(("count", "n"), [(1, 8), (2, 8), (3, 24), (5, 12), (4, 7), (3, 2), (2, 1)])
def test_windows_cover_everything_in_even_lengths(count: int, n: int) -> None:
    found = overlapping(range(100, 100 + n), count)
    assert len(found) == count
    assert {index for window in found for index in window} == set(range(100, 100 + n))
    assert len({len(window) for window in found}) == 1
    assert len(found[0]) % 2 == 0 or len(found[0]) == n


def test_the_meter_charges_every_question_on_every_window() -> None:
    critic = CompositeCritic([Part(Brightness(), any_window=2), Part(Peak())])
    search = problem("qwen_calls=14", critic=critic, watch=Watch(num_frames=4, windows=2))
    assert search.affordable() == 2
    search.evaluate(torch.zeros(2, search.dim), gradient=True)
    assert search.meter.qwen_calls == 12
    assert search.meter.renders == 2
    with pytest.raises(BudgetExhausted):
        search.evaluate(torch.zeros(1, search.dim))


def test_one_part_without_gradient_leaves_none() -> None:
    critic = CompositeCritic([Part(Brightness()), Part(Blind())])
    search = problem(critic=critic)
    search.evaluate(torch.zeros(1, search.dim))
    with pytest.raises(SparksError, match="CompositeCritic has no gradient"):
        search.evaluate(torch.zeros(1, search.dim), gradient=True)


def test_it_is_built_of_settings_and_loads_equal_critics_once() -> None:
    asked = []

    def build(settings: dict[str, object]) -> Brightness:
        asked.append(settings)
        return Brightness()

    parts = [
        {"name": "bright"},
        {"name": "bright", "prompt": "twice", "weight": -2},
        {"name": "bright", "sharp": True, "any_window": 3},
    ]
    config = Config.resolve({"critic": {"name": "composite", "parts": parts}})
    critic = construct("critic", CompositeCritic, config.critic.options, build=build)
    assert asked == [{"name": "bright"}, {"name": "bright", "sharp": True}]
    first, second, third = critic.parts
    assert first.critic is second.critic
    assert (second.weight, second.prompt, third.any_window) == (-2, "twice", 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "needs parts"),
        (["clip"], "'clip' is no setting; write e.g. {name: clip}"),
        ([{"name": "x", "weight": 0}], "weight 0"),
        ([{"name": "x", "weight": float("nan")}], "weight nan"),
        ([{"name": "x", "any_window": 0}], "any_window 0"),
    ],
)
def test_mistakes_are_told(parts: list[Any], message: str) -> None:
    with pytest.raises(SparksError, match=message):
        CompositeCritic(parts, build=lambda settings: Brightness())


def test_settings_need_someone_to_build_of_them() -> None:
    with pytest.raises(SparksError, match=r"{'name': 'x'} is no Part; give Part\(critic"):
        CompositeCritic([{"name": "x"}])
