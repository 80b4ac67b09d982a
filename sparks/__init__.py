"""Test-time tuning of a frozen audio-video editor: sound sparks motion.

The public names are imported when first used, so that `import sparks` is instant. Functions live
in their modules: `sparks.solve.solve`, `sparks.edit.edit`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparks.budget import Budget, BudgetExhausted, Meter
    from sparks.config import Config
    from sparks.controls import Controls, load_controls, save_controls
    from sparks.critics.base import Critic
    from sparks.editors.base import Editor
    from sparks.editors.conditioning import Conditioning
    from sparks.editors.guidance import Guidance
    from sparks.editors.schedule import Sampling
    from sparks.errors import SparksError
    from sparks.media import Clip, read_clip, write_clip
    from sparks.objective import Losses, Objective, Weights
    from sparks.problem import EditProblem, Evaluation, Watch
    from sparks.runs import Run
    from sparks.solve import AskTell, Outcome, Solver
    from sparks.spaces import FullSpace, Space

_HOMES = {
    "budget": ("Budget", "BudgetExhausted", "Meter"),
    "config": ("Config",),
    "controls": ("Controls", "load_controls", "save_controls"),
    "critics.base": ("Critic",),
    "editors.base": ("Editor",),
    "editors.conditioning": ("Conditioning",),
    "editors.guidance": ("Guidance",),
    "editors.schedule": ("Sampling",),
    "errors": ("SparksError",),
    "media": ("Clip", "read_clip", "write_clip"),
    "objective": ("Losses", "Objective", "Weights"),
    "problem": ("EditProblem", "Evaluation", "Watch"),
    "runs": ("Run",),
    "solve": ("AskTell", "Outcome", "Solver"),
    "spaces": ("FullSpace", "Space"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
