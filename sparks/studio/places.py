"""Files of given folders as they are asked for by a browser: none of elsewhere."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from sparks import page

_SHOWN = {  # what a browser may show; anything else is saved
    **{".mp4": "video/mp4", ".png": "image/png", ".jpg": "image/jpeg", ".wav": "audio/wav"},
    **{".json": "text/plain", ".jsonl": "text/plain", ".yaml": "text/plain"},
    **{".md": "text/plain", ".csv": "text/plain", ".html": "text/html"},
}


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# Pages that `sparks` wrote run its own script; one put there by others runs nothing. Its looks,
# which earlier versions gave it, load nothing from elsewhere.
PAGE_POLICY = (
    f"default-src 'none'; script-src {_hash(page.SCRIPT)}; style-src 'unsafe-inline'; "
    "img-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def inside(root: Path, path: str) -> Path:
    """The file or folder at `path` below `root`, links followed.

    Raises:
        HTTPException: 404, whether it is not there or not below `root`: nobody is told which.
    """
    parts = path.split("/")
    if any(re.search(r"[\\:\x00-\x1f]", part) or part in ("", ".", "..") for part in parts):
        raise HTTPException(404, "there is no such file")
    try:
        real = (root / path).resolve(strict=True)
        if real.is_relative_to(root.resolve(strict=True)):
            return real
    except (OSError, RuntimeError, ValueError):
        pass
    raise HTTPException(404, "there is no such file")


def file_response(root: Path, path: str, *, save_as: str | None = None) -> FileResponse:
    """The file at `path` below `root`, whole or the range that is asked for.

    Args:
        save_as: offer it to be saved under this name, whatever it is.

    Raises:
        HTTPException: 404, see `inside`; hidden files are not there, either.
    """
    real = inside(root, path)
    hidden = any(part.startswith(".") for part in path.split("/"))
    if hidden or not real.is_file():
        raise HTTPException(404, "there is no such file")
    kind = _SHOWN.get(real.suffix.lower())
    headers = {"cache-control": "private, no-cache"}  # kept, and asked after by its tag
    if kind == "text/html":
        headers["content-security-policy"] = PAGE_POLICY
    shown = kind is not None and save_as is None
    return FileResponse(
        real,
        media_type=kind or "application/octet-stream",
        headers=headers,
        filename=None if shown else save_as or real.name,
        stat_result=os.stat(real),
    )
