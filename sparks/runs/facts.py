"""What a run's `run.json` says of it, read as something that anyone may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sparks.errors import SparksError
from sparks.files import read_json


class _Machine(BaseModel):
    """Where and with what it was begun."""

    folder: str = ""
    device: str = ""
    versions: dict[str, str | None] = {}


class _Facts(BaseModel):
    """What is edited, and by what; see `sparks.runs.prepare`. Older releases said less."""

    prompt: str | None = None
    source: dict[str, str] = {}
    clip: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    seeds: dict[str, int] = {}
    settings: dict[str, str] = {}
    fingerprint: dict[str, str] = {}
    levers: dict[str, Any] = {}
    memory: dict[str, Any] = {}
    cost: _Machine = _Machine()


def read_facts(path: Path) -> dict[str, Any]:
    """All that the file holds.

    Raises:
        SparksError: it cannot be read, or something in it is of another type than was written.
    """
    try:
        content = read_json(path)
        _Facts.model_validate(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise SparksError(f"{path} cannot be read: {where}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise SparksError(f"cannot read {path} ({error}); start a new run") from error
    return dict(content)
