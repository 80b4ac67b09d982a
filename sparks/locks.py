"""One process at a time in a folder."""

import contextlib
import errno
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from sparks.files import refuse_link

log = logging.getLogger("sparks")

LOCKS = (".lock", ".lock-soft")  # in the folder; a process that is killed may leave them
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Inside, no other process that asks gets this folder; False if one has it already.

    The lock is the system's own: it goes with the process, however that ends. Where a file system
    has none, a file with the name of the process stands for it, which is warned of.

    Raises:
        OSError: the folder cannot be written, or its lock is a link to another file.
    """
    try:
        lock = _acquire(folder)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):  # Windows removes it itself, on release
            (folder / LOCKS[0]).unlink()  # before the release: after it, it may be another's
        lock.release()


def _acquire(folder: Path) -> BaseFileLock:
    path, soft = (folder / name for name in LOCKS)
    refuse_link(path)
    lock: BaseFileLock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:  # a timeout has no number
            raise
        log.warning(
            "%s is on a file system without locks (%s): %s stands for one, which other machines "
            "may not see in time; if they have all ended, remove it",
            *(folder, error.strerror, soft.name),
        )
        refuse_link(soft)
        # A moment, since releases before 4 take over a dead process's file at the second look.
        lock = SoftFileLock(soft, timeout=0.3, thread_local=False)
        lock.acquire()
    return lock
