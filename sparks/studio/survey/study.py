"""A study as it lies on disk: texts, scenarios, and videos under names that say nothing.

STUDY/study.json     what participants see, and which file is whose
STUDY/videos/        one file for each source and candidate
STUDY/votes.sqlite   everything that was answered, see `ballots`
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparks.errors import SparksError
from sparks.evaluation.scenarios import Name
from sparks.files import read_json, write_text

FILE = "study.json"
MOST = 8  # candidates on one page: as many as there are letters
LETTERS = "ABCDEFGH"

Video = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]

CONSENT = """\
You will see short videos. Each was edited by several programs, which were all asked for the same \
thing. You say which edits are the best ones.

Taking part is voluntary, and you can stop at any time by closing the page. What you have sent by \
then is kept.

Your choices, their order and their time are stored under a number. No name, no address of your \
computer and nothing else about you is stored. The choices may be published.
"""
QUESTION = (
    "Which edits do what the sentence asks for, and look best? Give a first, a second and a third "
    "place. Tick “achieved” on every video that shows what was asked for, or on none."
)
THANKS = "Thank you. Everything is stored; you can close this page."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scenario(_Strict):
    """A source, what was asked of it, and the video of each method; all of one size in pixels."""

    name: Name
    prompt: str
    source: Video
    edits: dict[Name, Video] = Field(min_length=2)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Study(_Strict):
    """What participants see.

    Attributes:
        title, consent, question, thanks: texts; an empty line begins a paragraph.
        seed: of the orders.
        per_participant: how many of the scenarios each participant is shown.
        candidates: the most that one page shows; of more, each participant sees some.
        attention: whether one page asks for certain letters, to see who reads.
        hasty: seconds that a participant's median answer must take; decided before the study.
    """

    format: Literal["sparks.survey/1"] = "sparks.survey/1"
    title: str
    consent: str = CONSENT
    question: str = QUESTION
    thanks: str = THANKS
    seed: int = 0
    scenarios: tuple[Scenario, ...] = Field(min_length=1)
    per_participant: int = Field(ge=1)
    candidates: int = Field(default=MOST, ge=2, le=MOST)
    attention: bool = True
    hasty: float = Field(default=10.0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Study:
        if len({scenario.name for scenario in self.scenarios}) < len(self.scenarios):
            raise ValueError("two scenarios of one name")
        if self.per_participant > len(self.scenarios):
            raise ValueError(
                f"{self.per_participant} scenarios for each participant, of {len(self.scenarios)}"
            )
        return self

    def scenario(self, name: str) -> Scenario:
        """The one of that name."""
        return next(each for each in self.scenarios if each.name == name)

    @property
    def videos(self) -> set[str]:
        """The names of all files."""
        return {v for each in self.scenarios for v in (each.source, *each.edits.values())}

    @property
    def text(self) -> str:
        """What it is, in a line."""
        methods = {method for each in self.scenarios for method in each.edits}
        return (
            f"{self.title}: {len(self.scenarios)} scenarios, {self.per_participant} for each "
            f"participant, of {len(methods)} methods"
        )

    def save(self, folder: Path) -> None:
        """Write `study.json`."""
        write_text(folder / FILE, self.model_dump_json(indent=1) + "\n")


def video_path(folder: Path, video: str) -> Path:
    """Where a video of a study lies; `video` is one of `Study.videos`."""
    return folder / "videos" / f"{video}.mp4"


def read_study(folder: Path) -> Study:
    """What `Study.save` wrote.

    Raises:
        SparksError: there is none, or it cannot be read.
    """
    path = folder / FILE
    try:
        return Study.model_validate(read_json(path))
    except OSError:
        raise SparksError(f"no study at {folder}; make one with sparks survey make") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SparksError(f"{path} cannot be read: {where} {first['msg']}") from None
    except ValueError as error:
        raise SparksError(f"{path} cannot be read: {error}") from None
