"""What a participant says of one page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparks.errors import SparksError, shorten
from sparks.studio.survey.orders import PLACES, Page


class Refused(SparksError):
    """A request that is not followed; `status` is HTTP's.

    403 is for someone who is no participant, 404 for what there is not, 409 for what cannot be
    (again), 410 for a study that has ended, 422 for an answer that is none.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Choice:
    """Candidates of a page by their index.

    Attributes:
        places: who is first, second, third; None where nobody is yet.
        achieved: those that show what was asked for.
    """

    places: tuple[int | None, ...]
    achieved: tuple[int, ...] = ()

    def place(self, candidate: int) -> int:
        """1 to 3, or 0."""
        return self.places.index(candidate) + 1 if candidate in self.places else 0


def read_choice(fields: Sequence[tuple[str, str]], page: Page, *, whole: bool = True) -> Choice:
    """From the fields of a form: `first=B`, `second=`, ..., and `achieved=` as often as needed.

    Args:
        fields: names and values; others are passed over.
        page: what was shown.
        whole: whether every place has to be given.

    Raises:
        Refused: a letter that was not shown, a candidate or a place twice, or a place left out.
    """
    places: dict[str, int] = {}
    for name, letter in fields:
        if name in PLACES:
            if name in places:
                raise Refused(422, f"the {name} place is given twice")
            places[name] = _candidate(letter, page)
    if len(set(places.values())) < len(places):
        raise Refused(422, "one video has two places; give each place to another one")
    missing = [name for name in page.places if name not in places]
    if places.keys() - set(page.places) or (whole and missing):
        raise Refused(422, f"choose a {', a '.join(missing or page.places)} place")
    achieved = {_candidate(letter, page) for name, letter in fields if name == "achieved"}
    return Choice(tuple(map(places.get, page.places)), tuple(sorted(achieved)))


def read_made(fields: Sequence[tuple[str, str]]) -> float:
    """When a choice was made, in seconds since 1970, by the field `made=`; 0 without one.

    Raises:
        Refused: it is no time.
    """
    text = dict(fields).get("made", "0")
    try:
        made = float(text)
    except ValueError:
        made = math.nan
    if not math.isfinite(made):
        raise Refused(422, f"made={shorten(text)} is no time; give seconds since 1970")
    return made


def attentive(page: Page, choice: Choice) -> bool:
    """Whether an attention check was answered as it asked."""
    return choice.places == page.told and not choice.achieved


def _candidate(letter: str, page: Page) -> int:
    if len(letter) != 1 or letter not in page.letters:
        raise Refused(422, f"there is no video {letter!r}; choose {_listed(page.letters)}")
    return page.letters.index(letter)


def _listed(letters: Iterable[str]) -> str:
    return ", ".join(letters)
