"""Files that a browser sends: streamed to a disk, of limited size, under a name of ours."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sparks.errors import SparksError


async def receive(request: Request, folder: Path, most: int) -> tuple[Path, str]:
    """Write the body of a request into `folder`, named by its own digest.

    Args:
        most: bytes; the door of the server has to let as many in (`Door.limits`).

    Returns:
        The file, the same for the same content; and the SHA-256 that it is named by.

    Raises:
        HTTPException: it is larger, empty, or ends before its end.
        SparksError: it cannot be written.
    """
    digest, size = hashlib.sha256(), 0
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".incoming-", dir=folder)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            async for part in request.stream():
                if (size := size + len(part)) > most:
                    raise HTTPException(413, f"larger than the {most // 2**20} MiB that are taken")
                digest.update(part)
                file.write(part)
        if not size:
            raise HTTPException(422, "the file is empty")
        os.replace(temporary, folder / digest.hexdigest())
    except OSError as error:
        raise SparksError(f"cannot write into {folder}: {error.strerror}; make room") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return folder / digest.hexdigest(), digest.hexdigest()


def plain_name(name: str) -> str:
    """What a file was called, fit to be shown: no path, nothing that a terminal obeys.

    Examples:
        >>> plain_name("C:\\\\films\\\\../my cat.mp4")
        'my cat.mp4'
    """
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", last)[:120]
