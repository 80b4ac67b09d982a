"""Errors meant for the person at the keyboard."""

LONGEST = 200  # characters of a value in a message


class SparksError(Exception):
    """A mistake the user can fix: one line naming the thing, its value and the way out."""


def shorten(value: object, limit: int = LONGEST) -> str:
    """A value for a message: its middle left out where it is long."""
    text = str(value)
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
