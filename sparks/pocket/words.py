"""The words of the pocket world: what a prompt may say, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHAPES = ("ball", "box", "triangle")
COLOURS = ("red", "green", "blue", "yellow")

#: Action name -> the phrases that mean it. The first is the one that tasks and questions use.
PHRASES: dict[str, tuple[str, ...]] = {
    "stay": ("stays still", "does not move", "is still"),
    "jump": ("jumps", "jumps up", "is jumping"),
    "slide_left": ("slides left", "moves left", "is sliding left"),
    "slide_right": ("slides right", "moves right", "is sliding right"),
    "grow": ("grows", "gets bigger", "is growing"),
    "spin": ("spins", "turns around", "is spinning"),
    "blink": ("blinks", "flashes", "is blinking"),
}
ACTIONS = tuple(PHRASES)
MOVING = ACTIONS[1:]

#: What the training sees as a negative prompt, and `sparks solve` uses by default.
NEGATIVE = ("", "blurry", "low quality", "blurry low quality")


@dataclass(frozen=True)
class Sentence:
    """A prompt understood: the object it names and the action, either of which may be left out."""

    colour: str | None
    shape: str | None
    action: str | None


def phrase(colour: str, shape: str, action: str | None, variant: int = 0) -> str:
    """Say it: `variant` picks article and wording, 0 being the canonical form."""
    article = ("a", "the")[variant % 2]
    if action is None:
        return f"{article} {colour} {shape}"
    wordings = PHRASES[action]
    return f"{article} {colour} {shape} {wordings[(variant // 2) % len(wordings)]}"


def understand(prompt: str) -> Sentence:
    """Read a prompt back into colour, shape and action; the longest matching phrase wins."""
    words = re.findall(r"[a-z]+", prompt.lower())
    text = f" {' '.join(words)} "
    matches = [
        (len(wording), action)
        for action, wordings in PHRASES.items()
        for wording in wordings
        if f" {wording} " in text
    ]
    action = max(matches)[1] if matches else None
    return Sentence(_first(words, COLOURS), _first(words, SHAPES), action)


def vocabulary() -> tuple[str, ...]:
    """Every word that a prompt may use, in a fixed order."""
    sentences = [
        *(phrase(COLOURS[0], SHAPES[0], None, variant) for variant in range(2)),
        *COLOURS,
        *SHAPES,
        *(wording for wordings in PHRASES.values() for wording in wordings),
        *NEGATIVE,
    ]
    return tuple(dict.fromkeys(word for sentence in sentences for word in sentence.split()))


def _first(words: Sequence[str], known: Sequence[str]) -> str | None:
    return next((word for word in words if word in known), None)
