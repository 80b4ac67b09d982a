"""What an edit reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparks.errors import SparksError

STOPPED_FROM_OUTSIDE = ("interrupt", "memory")  # such a search can go on


@dataclass(frozen=True)
class Result:
    """The outcome of an edit; `result["p_yes_best"]` is `result.p_yes_best`.

    Attributes:
        run_dir: where everything is; `folder` is the same as a path.
        solver, space, seed: what searched, where, and with which random numbers.
        p_yes_baseline, p_yes_best: the critic's P(yes) of the start and of the best by total loss,
            both at the tuning guidance, as scored.
        p_yes_edited: of the final render; None if it holds no numbers.
        p_yes_judge_baseline, p_yes_judge_edited: the held-out critic's; None without one.
        losses: terms of the best by name, weighted.
        spent: counters of the meter.
        skipped: evaluations that were no number.
        stopped_by: see `sparks.Outcome`.
        solver_report: what the solver has to say of its own.
        memory: planned and measured, of models large enough to think about it.
    """

    run_dir: str
    solver: str
    space: str
    seed: int
    p_yes_baseline: float | None
    p_yes_best: float | None
    p_yes_edited: float | None
    p_yes_judge_baseline: float | None
    p_yes_judge_edited: float | None
    losses: dict[str, float]
    spent: dict[str, float]
    skipped: int
    stopped_by: str
    solver_report: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run_dir)

    @property
    def total(self) -> float:
        """The loss of the best."""
        return sum(self.losses.values())

    @property
    def scores(self) -> dict[str, float | None]:
        """Every P(yes), and the loss of the best."""
        numbers = {n: value for n, value in asdict(self).items() if n.startswith("p_yes")}
        return {**numbers, "total": self.total}

    @property
    def finished(self) -> bool:
        """Whether the search is over; it can go on after a stop from outside."""
        return self.stopped_by not in STOPPED_FROM_OUTSIDE

    def json(self) -> dict[str, Any]:
        """As plain data; what there is not is left out."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None or name not in ("solver_report", "memory")
        }

    def __getitem__(self, name: str) -> Any:
        return self.json()[name]


def read_result(content: Mapping[str, Any], source: Path) -> Result:
    """What `Result.json` gave.

    Raises:
        SparksError: something is missing or of another type.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Result).validate_python({"skipped": 0, **content})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SparksError(f"{source} cannot be read: {where}: {first['msg']}") from None


def number(value: float | None) -> float | None:
    """A number that JSON can hold, None for one that it cannot."""
    return value if value is None or math.isfinite(value) else None
