"""Errors meant for the person at the keyboard."""


class SparksError(Exception):
    """A mistake the user can fix: one line naming the thing, its value and the way out."""
