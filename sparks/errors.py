"""Errors meant for the person at the keyboard, and text that is fit to be shown to them."""

import re

LONGEST = 200  # characters of a value in a message
_LONGEST_MESSAGE = 1500
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SparksError(Exception):
    """A mistake the user can fix: one line naming the thing, its value and the way out.

    What a terminal would take for a command is shown as text, and what is very long in part.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shorten(printable(str(message)), _LONGEST_MESSAGE))


def printable(text: str) -> str:
    """Text without anything that a terminal obeys; lines and tabs stay.

    Examples:
        >>> printable("\\x1b[2Jgone")
        '\\\\x1b[2Jgone'
    """
    plain = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


def shorten(value: object, limit: int = LONGEST) -> str:
    """A value for a message: its middle left out where it is long."""
    text = str(value)
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
