"""What tests in a browser share."""

import time
from typing import Any


def until(page: Any, expression: str, seconds: float = 30) -> None:
    """Wait for JavaScript to be true, asked from outside: the page's own policy forbids `eval`."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(100)
