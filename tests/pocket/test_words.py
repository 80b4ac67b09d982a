"""What a prompt may say."""

import itertools

import pytest

from sparks.pocket.training.text import sentences
from sparks.pocket.words import (
    ACTIONS,
    COLOURS,
    MOVING,
    PHRASES,
    SHAPES,
    Sentence,
    phrase,
    understand,
    vocabulary,
)


def test_every_wording_is_understood() -> None:
    for colour, shape, action in itertools.product(COLOURS, SHAPES, ACTIONS):
        for variant in range(2 * len(PHRASES[action])):
            said = phrase(colour, shape, action, variant)
            assert understand(said) == Sentence(colour, shape, action), said


@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [
        ("A Red ball JUMPS up.", Sentence("red", "ball", "jump")),
        ("the blue box", Sentence("blue", "box", None)),
        ("a green triangle does not move", Sentence("green", "triangle", "stay")),
        ("it moves right", Sentence(None, None, "slide_right")),
        ("", Sentence(None, None, None)),
    ],
)
def test_understand(prompt: str, meaning: Sentence) -> None:
    assert understand(prompt) == meaning


def test_the_canonical_phrase_comes_first() -> None:
    assert phrase("red", "ball", "jump") == "a red ball jumps"
    assert phrase("red", "ball", None, 1) == "the red ball"
    assert "stay" not in MOVING


def test_the_vocabulary_covers_every_sentence_once() -> None:
    words = vocabulary()
    assert len(words) == len(set(words))
    assert {word for sentence in sentences() for word in sentence.split()} == set(words)
