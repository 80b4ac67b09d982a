import time

import pytest

from sparks.errors import SparksError
from sparks.search.budget import Budget, BudgetExhausted, Meter


def test_budgets_are_read_and_written() -> None:
    budget = Budget.parse("qwen_calls=30, wall_clock=600s")
    assert budget == Budget(qwen_calls=30, wall_clock=600.0)
    assert str(budget) == "qwen_calls=30,wall_clock=600s"
    assert Budget.parse(str(budget)) == budget
    assert Budget.parse("wall_clock=1.5h,renders=2").wall_clock == 5400
    assert Budget.parse("wall_clock=20").wall_clock == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("calls=3", "'calls' is unknown.*qwen_calls, renders, wall_clock"),
        ("qwen_calls=3,qwen_calls=4", "given twice"),
        ("qwen_calls=0", "positive whole number"),
        ("renders=1.5", "positive whole number"),
        ("wall_clock=soon", "such as 600s"),
        ("wall_clock=infs", "such as 600s"),
        ("", "'' is unknown"),
    ],
)
def test_bad_budgets_are_refused(text: str, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        Budget.parse(text)


def test_counts_are_exact_and_a_refused_batch_costs_nothing() -> None:
    meter = Meter(Budget(qwen_calls=5))
    meter.admit(qwen_calls=4, renders=2)
    with pytest.raises(BudgetExhausted) as end:
        meter.admit(qwen_calls=2, renders=1)
    assert end.value.counter == "qwen_calls"
    assert (meter.qwen_calls, meter.renders) == (4, 2)
    meter.admit(qwen_calls=1, renders=1)
    assert meter.progress == 1
    assert meter.affordable() == 0


def test_seconds_start_with_the_first_evaluation_and_skip_pauses() -> None:
    meter = Meter(Budget(wall_clock=0.2))
    time.sleep(0.3)
    meter.admit(qwen_calls=1, renders=1)
    with meter.paused():
        time.sleep(0.3)
    meter.finish(forwards=3, backwards=2)
    assert meter.wall_clock < 0.2
    assert not meter.late
    time.sleep(0.25)
    with pytest.raises(BudgetExhausted, match="wall_clock"):
        meter.admit(qwen_calls=1, renders=1)
    meter.finish(forwards=0, backwards=0)
    assert meter.late
    assert meter.spent()["denoiser_forwards"] == 3


def test_affordable_takes_the_tightest_count() -> None:
    meter = Meter(Budget(qwen_calls=30, renders=20))
    assert meter.affordable(calls_per_render=3) == 10
    assert meter.affordable() == 20
    assert Meter(Budget(wall_clock=3)).affordable() is None
