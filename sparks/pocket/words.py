"""The words of the pocket world: what a prompt may say, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Action name -> the phrases that mean it. The first is the one that tasks and questions use.
PHRASES: dict[str, tuple[str, ...]] = {
    "stay": ("stays still", "does not move", "is still"),
    "jump": ("jumps", "jumps up", "is jumping"),
    "slide_left": ("slides left", "moves left", "is sliding left"),
    "slide_right": ("slides right", "moves right", "is sliding right"),
    "grow": ("grows", "gets bigger", "is growing"),
    "spin": ("spins", "turns around", "is spinning"),
    "blink": ("blinks", "flashes", "is blinking"),
    "open": ("opens and closes", "opens its mouth", "is opening and closing"),
    "wave": ("waves", "rocks to and fro", "is waving"),
    "fall": ("falls and bounces", "drops and bounces", "is falling and bouncing"),
    "jump_spin": ("jumps and then spins", "jumps up and turns around", "jumps before it spins"),
}
#: What the training sees as negative prompts; the bundled model's default is the last.
NEGATIVE = ("", "blurry", "low quality", "blurry low quality")


SHAPES = ("ball", "box", "triangle", "cross", "star")
COLOURS = ("red", "green", "blue", "yellow", "purple", "cyan")
ACTIONS = tuple(PHRASES)
MOVING = ACTIONS[1:]
VARIANTS = 6  # of a sentence: two articles, three wordings


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


def every_prompt() -> list[str]:
    """Indexed by colour, shape, action and variant, the last running fastest."""
    return [
        phrase(colour, shape, action, variant)
        for colour in COLOURS
        for shape in SHAPES
        for action in ACTIONS
        for variant in range(VARIANTS)
    ]


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
    """Every word that a prompt to the bundled model may use, in a fixed order."""
    sentences = [
        *(phrase(COLOURS[0], SHAPES[0], None, variant) for variant in range(2)),
        *COLOURS,
        *SHAPES,
        *(wording for action in ACTIONS for wording in PHRASES[action]),
        *NEGATIVE,
    ]
    return tuple(dict.fromkeys(word for sentence in sentences for word in sentence.split()))


def _first(words: Sequence[str], vocabulary: Sequence[str]) -> str | None:
    return next((word for word in words if word in vocabulary), None)
