"""Episodes from a problem, or from the settings of an edit."""

from typing import Any

import torch

from sparks.errors import SparksError
from sparks.search.budget import Budget
from sparks.search.problem import EditProblem
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings
from sparks.solvers.episodes import Episodes
from sparks.spaces.base import LOW_DIMENSIONAL


def make_episodes(
    count: int,
    *,
    problem: EditProblem | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Episodes:
    """`count` episodes side by side.

    Args:
        count: B.
        problem: what is edited; its own budget holds.
        settings: as of `sparks.edit`, from which a problem is built if none is given. Without a
            `budget` among them there is no limit; without a `space`, it is a low-dimensional one.
        options: `steps`, `bound` and `render_mode` of `sparks.solvers.episodes.Episodes`.

    Raises:
        SparksError: both or unusable settings and problem, or an option out of range.
    """
    if problem is not None and settings is not None:
        raise SparksError("give the environment a problem or settings, not both")
    return Episodes(count, problem or build(settings or {}), **options)


def build(settings: Settings) -> EditProblem:
    """The problem of an edit's settings, in few dimensions and unlimited unless they say other.

    Raises:
        SparksError: something about the settings is wrong.
    """
    from sparks.runs.prepare import prepare

    # Loading seeds torch; whoever makes an environment keeps the random numbers they had.
    with torch.random.fork_rng(devices=[]):
        problem = prepare(merge({"space": LOW_DIMENSIONAL}, settings)).problem
    if "budget" not in settings:
        problem.meter.budget = Budget()
    return problem
