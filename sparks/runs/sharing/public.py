"""What of a recipe others may see: all that repeats the edit, and no path of this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from sparks.settings.yaml import Settings

_OWN = (
    "video",
    "device",
    "preview_every",
    "keep",
    "listeners",
    "screen",
)  # settings of this machine


def public(recipe: Settings) -> Settings:
    """The recipe without settings that are of this machine alone, paths by their last name."""
    config = {name: value for name, value in recipe["config"].items() if name not in _OWN}
    others = {name: value for name, value in recipe.items() if name not in ("config", "memory")}
    cleaned: Settings = _cleaned({**others, "config": config})
    return cleaned


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cleaned(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and _is_path(value) else value


def _is_path(text: str) -> bool:
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # what can be no path, or no ~
        path = Path(text)
        return path.is_absolute() or text.startswith("~") or ("/" in text and path.exists())
    return False
