"""Asking: questions and answers kept on disk, none asked twice, a malformed answer asked anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from sparks.errors import SparksError, shorten
from sparks.evaluation.judge.answers import Answer, parse
from sparks.evaluation.judge.request import Request
from sparks.files import read_json, write_text

TRIES = 3


class Backend(Protocol):
    """Whoever answers."""

    name: str

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        """What it says to a request.

        Args:
            request: the question; the answer must be JSON of `request.wanted`.
            earlier: answers to it that were of another form, each with what was wrong.
        """
        ...


def ask(request: Request, backend: Backend, folder: Path) -> Answer | None:
    """The answer in `folder/KEY.json`, asked for now if there is none; None for no valid one.

    Raises:
        SparksError: whatever the backend says is in the way.
    """
    path = folder / f"{request.key}.json"
    try:
        if (earlier := _kept(path)) is not None:
            return _valid(earlier, request)
    except (ValueError, KeyError, TypeError) as error:
        why = shorten(f"{type(error).__name__}: {error}")
        raise SparksError(f"{path} is no kept answer ({why}); remove it to ask again") from None
    tries: list[tuple[str, str]] = []
    for _ in range(TRIES):
        text = backend.answer(request, tries)
        try:
            parse(text, request.wanted)
        except ValueError as error:
            tries.append((text, str(error)))
            continue
        tries.append((text, ""))
        break
    said = [{"answer": text, "wrong": wrong} for text, wrong in tries]
    content = {"key": request.key, "asked": request.record(), "said": said}
    write_text(path, json.dumps(content, indent=1) + "\n")
    return _valid(content, request)


def _valid(content: dict[str, Any], request: Request) -> Answer | None:
    last = content["said"][-1]
    return None if last["wrong"] else parse(last["answer"], request.wanted)


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        call: dict[str, Any] = read_json(path)
        return call if call["said"] else None
    except OSError:
        return None
