"""What each participant is shown, and in which order: drawn, and balanced over participants.

Orders are rows of Williams' designs: among every `n` participants (`2 n` for odd `n`) each of `n`
things stands at each place equally often and follows each other one equally often. Which thing is
which is drawn anew for every such block, and for every scenario.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sparks.studio.survey.study import LETTERS, Scenario, Study

SOURCE = ""  # stands among the candidates of an attention check; no method has that name
PLACES = ("first", "second", "third")


@dataclass(frozen=True)
class Page:
    """One page of one participant.

    Attributes:
        scenario: its name.
        candidates: methods under the letters A, B, ...; on an attention check all are the source.
        told: of an attention check, which candidates it asks for, from the first place on.
    """

    scenario: str
    candidates: tuple[str, ...]
    told: tuple[int, ...] = ()

    @property
    def letters(self) -> str:
        """Of the candidates."""
        return LETTERS[: len(self.candidates)]

    @property
    def places(self) -> tuple[str, ...]:
        """The places to be given: three, or as many as there are candidates."""
        return PLACES[: len(self.candidates)]

    def videos(self, scenario: Scenario) -> list[str]:
        """The candidates' videos."""
        return [scenario.edits[method] if method else scenario.source for method in self.candidates]


def balanced(count: int, number: int, seed: str) -> list[int]:
    """The order of `count` things for participant `number`, from 0.

    Examples:
        >>> rows = [balanced(4, number, "") for number in range(4)]
        >>> [sorted(column) for column in zip(*rows)]
        [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    """
    block, row = divmod(number, count * (1 + count % 2))
    steps = [(place + 1) // 2 * (-1) ** (place + 1) for place in range(count)]  # 0 1 -1 2 -2 ...
    order = [(step + row) % count for step in steps]
    names = Random(f"{seed} {count} {block}").sample(range(count), count)
    return [names[thing] for thing in (order if row < count else reversed(order))]


def draw(study: Study, number: int) -> list[Page]:
    """All pages of participant `number`, from 0."""
    order = balanced(len(study.scenarios), number, f"{study.seed} scenarios")
    pages = [
        _page(study, study.scenarios[which], number) for which in order[: study.per_participant]
    ]
    if study.attention:
        rng = Random(f"{study.seed} attention {number}")
        at = rng.randint(len(pages) // 3, len(pages) - len(pages) // 3)  # not among the first
        pages.insert(at, _check(rng, pages))
    return pages


def _page(study: Study, scenario: Scenario, number: int) -> Page:
    methods = list(scenario.edits)
    order = balanced(len(methods), number, f"{study.seed} {scenario.name}")
    return Page(scenario.name, tuple(methods[which] for which in order[: study.candidates]))


def _check(rng: Random, pages: list[Page]) -> Page:
    like = rng.choice(pages)
    count = len(like.candidates)
    return Page(like.scenario, (SOURCE,) * count, tuple(rng.sample(range(count), len(like.places))))
