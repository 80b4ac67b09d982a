"""What a judge has to answer, as JSON that is checked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from sparks.evaluation.judge.rubric import Rubric

Score = Annotated[float, Field(ge=0, le=10)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Verdict(_Strict):
    """Of one candidate: points by axis, an overall, whether the task was achieved, and why."""

    alias: str
    scores: Any
    overall: Score
    task_achieved: bool
    reason: str = ""


class Preference(_Strict):
    """Of two candidates, by alias, the better one; or `tie`."""

    first: str
    second: str
    preferred: str


class Answer(_Strict):
    """Of all candidates, the best first in `ranking`."""

    candidates: list[Any]
    ranking: list[str]
    preferences: list[Preference]


def answer_type(rubric: Rubric, aliases: Sequence[str]) -> type[Answer]:
    """The model of an answer that has every axis of every candidate, and every pair once."""
    alias: Any = Literal[tuple(aliases)]  # type: ignore[valid-type]
    axes: Any = dict.fromkeys(rubric.axes, (Score, ...))
    scores = create_model("Scores", __base__=_Strict, **axes)
    verdict = create_model("Verdict", __base__=Verdict, alias=(alias, ...), scores=(scores, ...))
    either: Any = Literal[(*aliases, "tie")]  # type: ignore[valid-type]
    preference = create_model(
        "Preference",
        __base__=Preference,
        first=(alias, ...),
        second=(alias, ...),
        preferred=(either, ...),
    )
    checks: dict[str, Any] = {"complete": model_validator(mode="after")(_complete(aliases))}
    wanted: type[Answer] = create_model(
        "Answer",
        __base__=Answer,
        candidates=(list[verdict], ...),  # type: ignore[valid-type]
        ranking=(list[alias], ...),  # type: ignore[valid-type]
        preferences=(list[preference], ...),  # type: ignore[valid-type]
        __validators__=checks,
    )
    return wanted


def _complete(aliases: Sequence[str]) -> Any:
    every = sorted(aliases)
    pairs = {frozenset((a, b)) for i, a in enumerate(every) for b in every[i + 1 :]}

    def check(answer: Answer) -> Answer:
        if sorted(verdict.alias for verdict in answer.candidates) != every:
            raise ValueError(f"candidates must be {', '.join(every)}, each once")
        if sorted(answer.ranking) != every:
            raise ValueError(f"ranking must have {', '.join(every)}, each once")
        given = [frozenset((each.first, each.second)) for each in answer.preferences]
        if len(given) != len(pairs) or set(given) != pairs:
            raise ValueError("preferences must have every pair of candidates once")
        for each in answer.preferences:
            if each.preferred not in (each.first, each.second, "tie"):
                raise ValueError(f"{each.preferred} is not of the pair {each.first}, {each.second}")
        return answer

    return check


def parse(text: str, wanted: type[Answer]) -> Answer:
    """The JSON object in what a judge said, with or without words or a fence around it.

    Raises:
        ValueError: there is none, or it is not as `wanted`; the message is for the judge.
    """
    json_text = re.search(r"\{.*\}", text, flags=re.DOTALL)
    if json_text is None:
        raise ValueError("there is no JSON object in the answer")
    try:
        return wanted.model_validate(json.loads(json_text[0]))
    except json.JSONDecodeError as error:
        raise ValueError(f"the JSON cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where + ': ' if where else ''}{first['msg']}") from None
