"""One question to a judge: what it is told, and which videos under which names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from sparks.errors import SparksError
from sparks.evaluation.judge.answers import Answer, answer_type
from sparks.evaluation.judge.rubric import Rubric
from sparks.evaluation.scenarios import Scenario

WORDS = ("prompt", "static", "count", "aliases", "axes", "formula", "schema")


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        scenario: source, prompt and edits.
        methods: the method behind each alias, in the order in which they are shown.
        rubric: what is scored.
        template: instructions with WORDS in braces.
        num_frames: frames shown of each video.
        repeat: number of the repetition.
        judge: name of whoever answers.
    """

    scenario: Scenario
    methods: Mapping[str, str]
    rubric: Rubric
    template: str
    num_frames: int
    repeat: int
    judge: str

    @cached_property
    def wanted(self) -> type[Answer]:
        """The form of the answer."""
        return answer_type(self.rubric, list(self.methods))

    @cached_property
    def text(self) -> str:
        """The instructions, filled in."""
        static = self.scenario.static_prompt
        axes = self.rubric.axes
        words: dict[str, Any] = {
            "prompt": self.scenario.prompt,
            "static": f'Before, it shows: "{static}"\n' if static else "",
            "count": len(self.methods),
            "aliases": ", ".join(self.methods),
            "axes": "\n".join(f"- `{name}`: {axis.question}" for name, axis in axes.items()),
            "formula": " + ".join(f"{axis.weight:g} {name}" for name, axis in axes.items()),
            "schema": json.dumps(self.wanted.model_json_schema()),
        }
        return "".join(
            str(words[part[1:-1]]) if part[1:-1] in words and part.startswith("{") else part
            for part in _split(self.template)
        )

    @cached_property
    def key(self) -> str:
        """The same for the same question about the same videos."""
        videos = {alias: _digest(self.scenario.edits[m]) for alias, m in self.methods.items()}
        content = [
            *(self.judge, self.text, self.num_frames, self.repeat),
            *(_digest(self.scenario.source), list(videos.items())),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def record(self) -> dict[str, Any]:
        """All of it but the pictures, for the record."""
        return {
            "judge": self.judge,
            "scenario": self.scenario.name,
            "repeat": self.repeat,
            "methods": dict(self.methods),
            "rubric": self.rubric.name,
            "num_frames": self.num_frames,
            "text": self.text,
        }


def aliases(count: int) -> list[str]:
    """Names that say nothing.

    Raises:
        SparksError: more candidates than letters.
    """
    if count > len(ascii_uppercase):
        raise SparksError(f"{count} methods are too many to judge at once; 26 at most")
    return list(ascii_uppercase[:count])


def read_template(path: Path | None) -> str:
    """Instructions from a file, or our own.

    Raises:
        SparksError: the file is not there, or lacks the prompt or the form of the answer.
    """
    own = Path(str(resources.files("sparks") / "evaluation" / "judge" / "instructions.md"))
    try:
        text = (path or own).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SparksError(f"no instructions at {path}; give a text file") from error
    for word in ("prompt", "schema"):
        if "{" + word + "}" not in text:
            raise SparksError(
                f"{path} lacks {{{word}}}; instructions may have "
                + ", ".join(f"{{{each}}}" for each in WORDS)
            )
    return text


def _split(template: str) -> list[str]:
    import re

    return re.split(r"(\{(?:" + "|".join(WORDS) + r")\})", template)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
