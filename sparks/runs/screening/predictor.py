"""From what a probe showed to a probability: a logistic regression whose numbers are in JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from sparks.pocket.words import understand
from sparks.runs.screening.features import features
from sparks.runs.screening.probe import Effort, Probe


@dataclass(frozen=True)
class Record:
    """How often edits that asked for the same action have happened, of how many."""

    happened: int
    of: int

    def log_odds(self, pooled: float) -> float:
        """Of the rate, drawn to the `pooled` one by as much as `WEIGHT` edits would."""
        rate = (self.happened + WEIGHT * pooled) / (self.of + WEIGHT)
        return math.log(rate / (1 - rate))


WEIGHT = 4.0  # edits that the rate of all actions counts for


@dataclass(frozen=True)
class Term:
    """One number of the regression: `weight * (value - mean) / scale`."""

    mean: float
    scale: float
    weight: float


@dataclass(frozen=True)
class Predictor:
    """P(happens within the budget) = sigmoid(intercept + terms).

    Attributes:
        made: the command that made it.
        budget: of the edits that it was learnt from.
        effort: what a probe for it renders.
        intercept: of the regression.
        terms: by the name of a feature; `action` is the log odds of the action's record.
        records: of each action, by its name.
    """

    made: str
    budget: str
    effort: Effort
    intercept: float
    terms: Mapping[str, Term]
    records: Mapping[str, Record]

    def probability(self, probe: Probe) -> float:
        """That the edit happens."""
        values = features(probe) | {"action": self.action(probe.prompt)}
        total = self.intercept + sum(
            term.weight * (values[name] - term.mean) / term.scale
            for name, term in self.terms.items()
        )
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))

    def record(self, prompt: str) -> Record | None:
        """Of the action that a prompt asks for, if there is one."""
        return self.records.get(understand(prompt).action or "")

    def action(self, prompt: str) -> float:
        """Log odds of the action's record; of all actions together for one that has none."""
        pooled = self.pooled
        return (self.record(prompt) or Record(0, 0)).log_odds(pooled)

    @property
    def pooled(self) -> float:
        """Rate over all actions."""
        happened = sum(record.happened for record in self.records.values())
        return (happened + 0.5) / (sum(record.of for record in self.records.values()) + 1)

    def json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def load_predictor() -> Predictor:
    """The one in the package, learnt on the development half of pocket."""
    text = resources.files(__package__).joinpath("predictor.json").read_text(encoding="utf-8")
    return read_predictor(json.loads(text))


def read_predictor(content: Mapping[str, Any]) -> Predictor:
    """What `Predictor.json` gave."""
    return Predictor(
        content["made"],
        content["budget"],
        Effort(**content["effort"]),
        content["intercept"],
        {name: Term(**term) for name, term in content["terms"].items()},
        {name: Record(**record) for name, record in content["records"].items()},
    )
