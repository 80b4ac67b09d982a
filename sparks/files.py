"""Writing files so that a reader never sees half of one."""

import contextlib
import errno
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparks.errors import SparksError

_LARGEST = 2**28  # bytes of a JSON file


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place only if the block succeeds.

    Raises:
        SparksError: the folder cannot be written, or its disk is full.
    """
    path = Path(path)
    try:
        with _temporary(path) as temporary:
            yield temporary
            _store(temporary)
            os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise SparksError(
            f"cannot write {path}: {reason}; make room there or choose another output folder"
        ) from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _store(path: Path) -> None:
    """Bring what was written to the disk itself, before anything points to it."""
    with contextlib.suppress(OSError):  # some file systems know no modes
        os.chmod(path, 0o644)  # mkstemp makes files only the owner can read
    with path.open("rb") as file:
        sync(file.fileno())


def sync(file: int) -> None:
    """Bring an open file to its disk, where its file system can say that it has.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EROFS):
            raise


def at_home(path: str) -> str:
    """A path in which `~` is the home folder, as it is wherever a path is given.

    Raises:
        SparksError: nobody knows where that is.
    """
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise SparksError(f"{path}: {error}; set HOME, or write the whole path") from error


def place(path: str | Path) -> Path:
    """A path of the command line, which defaults to one that is already made."""
    return Path(at_home(str(path)))


def opened_itself(path: str, flags: int) -> int:
    """An `opener` for `open` that refuses a link: what it points to is not ours to write.

    Raises:
        OSError: `path` is a symbolic link, or no plain file.
    """
    refuse_link(path)
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(errno.EINVAL, "it is no plain file", path)
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def refuse_link(path: Path | str) -> None:
    """Raise if `path` leads elsewhere.

    Raises:
        OSError: it is a symbolic link.
    """
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link to another file", str(path))


def read_bytes(path: Path | str) -> bytes:
    """What a plain file holds; pipes and devices, which may have no end, are refused.

    Raises:
        OSError: there is none, it is something else, or it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        return file.read()


def read_json(path: Path | str) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: see `read_bytes`, or it is larger than any of ours.
        ValueError: it is no JSON, or nested without end.
    """
    if os.stat(path).st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {_LARGEST >> 20} MiB", str(path))
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
