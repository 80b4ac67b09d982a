"""Searches: each proposes candidates and learns from their evaluations."""

from typing import Any

# What a solver without gradients searches unless the user names a space: with the few hundred
# evaluations of a budget, it cannot learn about thousands of coordinates.
LOW_DIMENSIONAL: dict[str, Any] = {"name": "temporal"}
