"""The baselines."""

import pytest
import torch

from sparks.errors import SparksError
from sparks.registry import solvers, spaces
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.solvers.sampling import BestOfSeeds, RandomSearch
from tests.solvers.quadratic import quadratic
from tests.toy import problem


def test_random_search_draws_around_the_start_in_batches() -> None:
    task = quadratic("qwen_calls=403", dim=None)
    sizes: list[int] = []
    drawn: list[torch.Tensor] = []
    task.observers.append(lambda batch: sizes.append(len(batch)))
    task.observers.append(lambda batch: drawn.extend(each.z for each in batch))
    solve(task, RandomSearch(batch=5, sigma=0.2))
    assert sizes == [1, *[5] * 80, 2]
    values = torch.stack(drawn[1:])
    assert values.std() == pytest.approx(0.2, rel=0.03)
    assert abs(float(values.mean())) < 0.01


@pytest.mark.parametrize("name", ["random", "cma", "ppo", "nevergrad/TwoPointsDE"])
def test_every_element_is_drawn_less_widely_than_a_few_directions(name: str) -> None:
    def drawn(dim: int | None, **options: float) -> float:
        task = quadratic("qwen_calls=33", dim=dim)
        batches: list[list[Evaluation]] = []
        task.observers.append(batches.append)
        solve(task, solvers.get(name)(batch=32, **options), seed=1)
        return float(torch.stack([each.z for each in batches[1]]).square().mean().sqrt())

    few, every, asked = drawn(16), drawn(None), drawn(None, sigma=0.1)
    widest = 3 if name == "random" else 1
    assert few == pytest.approx(0.5 * widest, rel=0.15)
    assert every == pytest.approx(0.02 * widest, rel=0.15)
    assert asked == pytest.approx(0.1, rel=0.15)


def test_best_of_seeds_keeps_the_start_and_lets_the_noise_vary() -> None:
    task = problem("qwen_calls=9")
    seen: list[Evaluation] = []
    task.observers.append(seen.extend)
    outcome = solve(task, BestOfSeeds(), seed=2)
    assert len(seen) == 9
    assert not any(each.z.any() for each in seen)
    assert seen[0].seed == task.conditioning.seed
    assert len({each.seed for each in seen}) == 9
    lucky = min(seen, key=lambda each: each.total)
    assert lucky.index > 0
    assert (outcome.best.seed, outcome.best.total) == (lucky.seed, lucky.total)


def test_a_baseline_refuses_what_is_no_population() -> None:
    with pytest.raises(SparksError, match="batch is 0"):
        RandomSearch(batch=0)
    with pytest.raises(SparksError, match="sigma is nan"):
        RandomSearch(sigma=float("nan"))


def test_searches_without_gradients_say_which_space_they_want() -> None:
    assert RandomSearch.default_space["name"] in spaces.names()
