"""docs/solvers.md: the solver that it opens with is a whole one."""

import sys
from pathlib import Path
from typing import Any

import pytest

from sparks.registry import solvers
from sparks.settings.construct import construct
from sparks.testing import check_solver
from tests.solvers.quadratic import median_left
from tests.test_docs import blocks
from tests.toy import problem

PAGE = "docs/solvers.md"


@pytest.fixture
def spread(tmp_path: Path) -> Any:
    (tmp_path / "spread.py").write_text(blocks(PAGE, "python")[0])
    return solvers.get(f"{tmp_path}/spread.py:Spread")


def test_it_has_twenty_lines() -> None:
    assert len([line for line in blocks(PAGE, "python")[0].splitlines() if line.strip()]) <= 20


def test_it_keeps_every_promise(spread: Any) -> None:
    check_solver(spread, lambda: problem("renders=12"))


def test_it_takes_settings_and_finds_a_minimum(spread: Any) -> None:
    assert construct("solver", spread, {"sigma": 0.5}).sigma == 0.5
    assert median_left(spread) < 0.2


def test_the_check_on_the_page_runs(spread: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check = blocks(PAGE, "python")[1].replace("renders=12", "renders=4")
    monkeypatch.setitem(sys.modules, "spread", sys.modules[spread.__module__])
    exec(compile(check, PAGE, "exec"), {"__name__": "docs"})
