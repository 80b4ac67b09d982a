"""What a probe means for the one who asks: a probability, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparks.pocket.words import understand
from sparks.runs.screening.predictor import Predictor, Record
from sparks.runs.screening.probe import Look, Probe

LIKELY, UNLIKELY = 0.75, 0.4


@dataclass(frozen=True)
class Verdict:
    """Whether an edit is worth its search.

    Attributes:
        probability: that it happens within `budget`.
        budget: of the edits that the probability was learnt from.
        probe: what was seen.
        action: that the prompt asks for, if it is one of the bundled world's.
        record: of edits that asked for it.
        foreign: what differs from what the probability was learnt on; nothing for most.
    """

    probability: float
    budget: str
    probe: Probe
    action: str | None
    record: Record | None
    foreign: tuple[str, ...] = ()

    @property
    def already(self) -> bool:
        """Whether the critic accepts what the prompt alone makes, under most noises."""
        prompt = [*self.probe.of("start"), *self.probe.of("noise")]
        return sum(look.p_yes > 0.5 for look in prompt) * 2 > len(prompt)

    def json(self) -> dict[str, Any]:
        """As plain data."""
        record = None if self.record is None else vars(self.record)
        own = {"probability": self.probability, "budget": self.budget, "verdict": headline(self)}
        more = {"already": self.already, "action": self.action, "record": record}
        return own | more | {"foreign": list(self.foreign), "probe": self.probe.json()}


def weigh(
    predictor: Predictor, probe: Probe, foreign: Mapping[str, tuple[object, object]]
) -> Verdict:
    """The verdict on a probe.

    Args:
        predictor: gives the probability.
        probe: what was seen.
        foreign: what the edit is made with, and what the predictor was learnt with, by name.
    """
    differing = tuple(
        f"{name} {own} instead of {learnt}"
        for name, (own, learnt) in foreign.items()
        if own != learnt
    )
    return Verdict(
        predictor.probability(probe),
        predictor.budget,
        probe,
        understand(probe.prompt).action,
        predictor.record(probe.prompt),
        differing,
    )


def headline(verdict: Verdict) -> str:
    """One line."""
    calls = verdict.budget.removeprefix("qwen_calls=")
    chance = f"a chance of {verdict.probability:.2f} that it happens within {calls} critic calls"
    if verdict.already:
        return f"The prompt alone may do: the critic accepts it untuned; {chance} if it is tuned"
    if verdict.probability >= LIKELY:
        return f"Worth a search: {chance}"
    if verdict.probability >= UNLIKELY:
        return f"Uncertain: {chance}"
    return f"Hardly worth a search: {chance}"


def describe(verdict: Verdict) -> str:
    """The headline and what speaks for it, line by line."""
    probe, spent = verdict.probe, verdict.probe.spent
    prompt, draws = [*probe.of("start"), *probe.of("noise")], probe.of("draw")
    lines = [
        headline(verdict) + ".",
        f"  prompt alone  {_answers(prompt)} under {len(prompt)} noises: {_varies(prompt)}",
        f"  gradient      {_slope(probe)}",
        f"  draws         {_accepted(draws)}: {_answers(draws)}",
        f"  action        {_record(verdict)}",
        f"  cost          {spent['renders']:.0f} renders, {spent['qwen_calls']:.0f} critic calls, "
        f"{spent['wall_clock']:.1f} s, beside the search's own budget",
    ]
    if verdict.foreign:
        lines.append(f"  a guess only  learnt on others: {'; '.join(verdict.foreign)}")
    return "\n".join(lines)


def _answers(looks: Sequence[Look]) -> str:
    return "P(yes) " + ", ".join(f"{look.p_yes:.2f}" for look in looks) if looks else "none"


def _varies(looks: Sequence[Look]) -> str:
    accepted = sum(look.p_yes > 0.5 for look in looks)
    if accepted in (0, len(looks)):
        return "none is accepted" if accepted == 0 else "all are accepted"
    return f"{accepted} accepted, so the noise matters"


def _slope(probe: Probe) -> str:
    steps, start = probe.of("step"), probe.looks[0].p_yes
    if probe.slope is None or not steps:
        return "the critic has none"
    best = max(look.p_yes for look in steps)
    how = "rises" if best > start + 0.01 else "stays" if best > start - 0.01 else "falls"
    return f"a step along it, and P(yes) {how} from {start:.2f} to {best:.2f}"


def _accepted(draws: Sequence[Look]) -> str:
    return f"{sum(look.p_yes > 0.5 for look in draws)} of {len(draws)} accepted"


def _record(verdict: Verdict) -> str:
    if verdict.record is None:
        return "not one of those that the probability was learnt on"
    name = str(verdict.action).replace("_", " ")
    return f"{name}: {verdict.record.happened} of {verdict.record.of} such edits happened"
