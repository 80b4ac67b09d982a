"""Where workers are, as the user says it."""

from __future__ import annotations

from collections.abc import Sequence

from sparks import registry
from sparks.errors import SparksError
from sparks.search.executors import Executor
from sparks.settings.construct import construct
from sparks.settings.layers import assignments


def build_executor(
    on: str | None, jobs: int | None, options: Sequence[str] = ()
) -> Executor | None:
    """The executor that `--on`, `--jobs` and `--with` name; None for this process alone.

    Raises:
        SparksError: there is none of that name, it refuses an option, or it lacks a package.
    """
    if on is None and (jobs or 1) == 1:
        if options:
            raise SparksError(f"--with {options[0]} is an option of an executor; say --on as well")
        return None
    factory = registry.executors.get(on or "processes")
    executor: Executor = construct("with", factory, assignments(options, "--with"), jobs=jobs)
    return executor
