"""A whole comparison judged: names shuffled, orders balanced, repeated, and put together.

judge/calls/KEY.json    every question with all that was said to it
judge.csv               a row for each scenario and method: `sparks stats` takes it
judge.json              the same with spreads, preferences and what was flagged
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sparks.errors import SparksError
from sparks.evaluation.judge.answers import Answer
from sparks.evaluation.judge.calls import Backend, ask
from sparks.evaluation.judge.request import Request, aliases
from sparks.evaluation.judge.rubric import Rubric
from sparks.evaluation.scenarios import Comparison, Scenario
from sparks.evaluation.statistics.tables import csv_text, markdown
from sparks.files import write_text

Orders = Literal["both", "balanced"]
DIFFERS = 0.1  # between an overall and its own parts: more is flagged


@dataclass(frozen=True)
class Judging:
    """How a comparison is judged.

    Attributes:
        rubric: what is scored.
        template: instructions.
        orders: every repeat in one order and its reverse, or one order each, turned on by one
            place so that each method stands in each place equally often.
        repeats: how often.
        num_frames: frames shown of each video.
        seed: of names and orders.
    """

    rubric: Rubric
    template: str
    orders: Orders = "both"
    repeats: int = 1
    num_frames: int = 8
    seed: int = 0


@dataclass
class Judged:
    """What was found of one method on one scenario.

    Attributes:
        scores: mean points by axis; `spread` their standard deviation over calls.
        overall: recomputed from the axes; `said` the mean of what the judge gave.
        achieved: share of calls that say so.
        rank: mean place.
        flags: what does not fit together.
    """

    scenario: str
    method: str
    scores: dict[str, float]
    spread: dict[str, float]
    overall: float
    said: float
    achieved: float
    rank: float
    calls: int
    flags: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Flat, for a table."""
        return {
            "scenario": self.scenario,
            "method": self.method,
            **{name: round(value, 4) for name, value in self.scores.items()},
            "overall": round(self.overall, 4),
            "achieved": self.achieved,
            "rank": self.rank,
        }


@dataclass
class Result:
    """Everything that was found, and pairwise preferences by scenario: a method, or `tie`."""

    judge: str
    rubric: str
    judged: list[Judged] = field(default_factory=list)
    preferences: list[dict[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def judge(comparison: Comparison, how: Judging, backend: Backend, folder: Path) -> Result:
    """Ask about every scenario, and write what was found into `folder`.

    What was asked before is not asked again: `folder/judge/calls` has it.

    Raises:
        SparksError: a backend that cannot answer, or no scenario with two methods or more.
    """
    result = Result(backend.name, how.rubric.name)
    scenarios = [each for each in comparison.scenarios if len(each.edits) >= 2]
    if not scenarios:
        raise SparksError("no scenario has edits of two methods; there is nothing to compare")
    for number, scenario in enumerate(scenarios, 1):
        calls = []
        for request in requests(scenario, how, backend.name):
            answer = ask(request, backend, folder / "judge" / "calls")
            if answer is None:
                result.failed.append(f"{scenario.name}: no valid answer to {request.key}")
            else:
                calls.append((request, answer))
        if calls:
            result.judged += _judged(scenario, calls, how.rubric)
            result.preferences += _preferences(scenario, calls)
        print(f"judged {number}/{len(scenarios)}  {scenario.name}", file=sys.stderr, flush=True)
    write_text(folder / "judge.csv", csv_text([each.row() for each in result.judged]))
    write_text(folder / "judge.json", json.dumps(asdict(result), indent=1) + "\n")
    return result


def requests(scenario: Scenario, how: Judging, name: str) -> Iterator[Request]:
    """All questions about a scenario: names shuffled for each, orders reversed or turned."""
    rng = random.Random(f"{how.seed} {scenario.name}")
    first = sorted(scenario.edits)
    rng.shuffle(first)
    for repeat in range(how.repeats):
        turned = first[repeat % len(first) :] + first[: repeat % len(first)]
        for order in (turned, turned[::-1]) if how.orders == "both" else (turned,):
            names = aliases(len(order))
            rng.shuffle(names)
            methods = dict(zip(names, order, strict=True))
            rest = (how.rubric, how.template, how.num_frames, repeat, name)
            yield Request(scenario, methods, *rest)


def _judged(
    scenario: Scenario, calls: Sequence[tuple[Request, Answer]], rubric: Rubric
) -> Iterator[Judged]:
    for method in scenario.edits:
        verdicts = [(_of(request, answer, method), answer) for request, answer in calls]
        points = {
            name: [getattr(verdict.scores, name) for verdict, _ in verdicts] for name in rubric.axes
        }
        scores = {name: float(np.mean(values)) for name, values in points.items()}
        flags = [
            f"overall {verdict.overall:g} given, {own:.2f} by its parts"
            for verdict, _ in verdicts
            for own in [rubric.overall(dict(verdict.scores))]
            if abs(own - verdict.overall) > DIFFERS
        ]
        yield Judged(
            *(scenario.name, method, scores),
            spread={name: float(np.std(values)) for name, values in points.items()},
            overall=rubric.overall(scores),
            said=float(np.mean([verdict.overall for verdict, _ in verdicts])),
            achieved=float(np.mean([verdict.task_achieved for verdict, _ in verdicts])),
            rank=float(np.mean([a.ranking.index(v.alias) + 1 for v, a in verdicts])),
            calls=len(verdicts),
            flags=list(dict.fromkeys(flags)),
        )


def _of(request: Request, answer: Answer, method: str) -> Any:
    alias = next(alias for alias, name in request.methods.items() if name == method)
    return next(verdict for verdict in answer.candidates if verdict.alias == alias)


def _preferences(
    scenario: Scenario, calls: Sequence[tuple[Request, Answer]]
) -> Iterator[dict[str, str]]:
    """A method is preferred only if every call says so: what depends on the order is a tie."""
    for first, second in itertools.combinations(scenario.edits, 2):
        said = {_preferred(request, answer, {first, second}) for request, answer in calls}
        preferred = said.pop() if len(said) == 1 else "tie"
        yield {"scenario": scenario.name, "first": first, "second": second, "preferred": preferred}


def _preferred(request: Request, answer: Answer, pair: set[str]) -> str:
    for each in answer.preferences:
        if {request.methods[each.first], request.methods[each.second]} == pair:
            return "tie" if each.preferred == "tie" else request.methods[each.preferred]
    raise AssertionError("an answer that was checked has every pair")


def as_table(result: Result, methods: Sequence[str], axes: Sequence[str]) -> str:
    """A row for each method, as Table S1 of the paper."""
    lines = []
    for method in methods:
        mine = [each for each in result.judged if each.method == method]
        if not mine:
            continue
        wins = [p for p in result.preferences if method in (p["first"], p["second"])]
        won = sum(p["preferred"] == method for p in wins)
        tied = sum(p["preferred"] == "tie" for p in wins)
        lines.append(
            [
                method,
                f"{100 * np.mean([each.achieved for each in mine]):.1f}",
                f"{np.mean([each.overall for each in mine]):.2f}",
                *(f"{np.mean([each.scores[axis] for each in mine]):.2f}" for axis in axes),
                f"{np.mean([each.rank for each in mine]):.2f}",
                f"{won} of {len(wins)}, {tied} ties",
                f"{np.mean([s for each in mine for s in each.spread.values()]):.2f}",
            ]
        )
    titles = [axis.replace("_", " ") for axis in axes]
    header = ["method", "achieved %", "overall", *titles, "rank", "preferred", "spread"]
    return markdown(header, lines)


def remarks(result: Result) -> list[str]:
    """What did not fit together, one line each."""
    flagged = [f"{e.scenario}, {e.method}: {flag}" for e in result.judged for flag in e.flags]
    return [*flagged, *result.failed]
