"""Frozen generators that edit a clip under the tuned controls."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparks.editors.base import Editor
    from sparks.editors.conditioning import Conditioning
    from sparks.editors.guidance import UNGUIDED, Guidance, ModalityGuidance
    from sparks.editors.ltx2 import LTX2Editor
    from sparks.editors.schedule import Sampling

__all__ = [
    "UNGUIDED",
    "Conditioning",
    "Editor",
    "Guidance",
    "LTX2Editor",
    "ModalityGuidance",
    "Sampling",
]

_HOMES = {
    "Conditioning": "conditioning",
    "Editor": "base",
    "Guidance": "guidance",
    "LTX2Editor": "ltx2",
    "ModalityGuidance": "guidance",
    "Sampling": "schedule",
    "UNGUIDED": "guidance",
}


def __getattr__(name: str) -> Any:
    # Names are imported when used, so that settings can be read without loading torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
