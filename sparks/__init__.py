"""Test-time tuning of a frozen audio-video editor: sound sparks motion.

The public names are imported when first used, so that `import sparks` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparks.critics.base import Critic
    from sparks.editors.base import Editor
    from sparks.editors.conditioning import Conditioning
    from sparks.editors.controls import Controls, load_controls, save_controls
    from sparks.editors.guidance import Guidance
    from sparks.editors.schedule import Sampling
    from sparks.errors import SparksError
    from sparks.media.clip import Clip, read_clip, write_clip
    from sparks.runs.edit import edit
    from sparks.runs.folder import Run
    from sparks.search.budget import Budget, BudgetExhausted, Meter
    from sparks.search.driver import Outcome, solve
    from sparks.search.evaluation import Evaluation, Watch
    from sparks.search.objective import Losses, Objective, Weights
    from sparks.search.problem import EditProblem
    from sparks.search.protocols import AskTell, Solver
    from sparks.settings.schema import Config
    from sparks.spaces.base import FullSpace, Space

_HOMES = {
    "critics.base": ("Critic",),
    "editors.base": ("Editor",),
    "editors.conditioning": ("Conditioning",),
    "editors.controls": ("Controls", "load_controls", "save_controls"),
    "editors.guidance": ("Guidance",),
    "editors.schedule": ("Sampling",),
    "errors": ("SparksError",),
    "media.clip": ("Clip", "read_clip", "write_clip"),
    "runs.edit": ("edit",),
    "runs.folder": ("Run",),
    "search.budget": ("Budget", "BudgetExhausted", "Meter"),
    "search.driver": ("Outcome", "solve"),
    "search.objective": ("Losses", "Objective", "Weights"),
    "search.evaluation": ("Evaluation", "Watch"),
    "search.problem": ("EditProblem",),
    "search.protocols": ("AskTell", "Solver"),
    "settings.schema": ("Config",),
    "spaces.base": ("FullSpace", "Space"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
