"""The process of one job: `python -m sparks.studio.edits.work JOB`.

It holds the lock of the job's folder as long as it lives, so that any server knows whether it does,
and leaves its exit code there. What it does is a `sparks` command, with the command's own options.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path

from sparks.files import read_json, write_text
from sparks.locks import locked

_TRIES, _PAUSE = 20, 0.1  # a server looks at the lock by taking it for a moment


def main(folder: Path) -> int:
    """Run the job of a folder, unless another process does.

    Returns:
        the exit code of the command.
    """
    for _ in range(_TRIES):
        with locked(folder) as free:
            if free:
                return _run(folder)
        time.sleep(_PAUSE)
    return 0  # the other one will say how it ended


def _run(folder: Path) -> int:
    if (folder / "exit.json").exists():  # it was run by a process that has ended since
        return 0
    write_text(folder / "pid", str(os.getpid()))
    arguments = read_json(folder / "job.json")["arguments"]
    sys.argv = ["sparks", *arguments]
    try:
        runpy.run_module("sparks.cli", run_name="__main__")  # as `python -m` does
    except SystemExit as end:
        code = as_number(end.code)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        _say_exit(folder, 1)
        raise
    _say_exit(folder, code)
    return code


def as_number(code: str | int | None) -> int:
    """What a program's end is to a shell.

    Examples:
        >>> as_number(None), as_number(2), as_number("out of luck")
        (0, 2, 1)
    """
    return code if isinstance(code, int) else 0 if code is None else 1


def _say_exit(folder: Path, code: int) -> None:
    (folder / "pid").unlink(missing_ok=True)
    write_text(folder / "exit.json", json.dumps({"code": code}) + "\n")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
