"""The check of an executor."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparks.search.executors import Executor

_COUNT = 6


def check_executor(executor: Executor, folder: Path) -> None:
    """Check that `executor` keeps the promises of `Executor` on some small pieces of work.

    Args:
        folder: empty, on a disk that all of its workers share.

    Raises:
        AssertionError: a piece was not done, or twice; workers were left behind; work that was
            done was begun again, or the error of a piece was kept quiet.
    """
    from sparks.claims import workers
    from sparks.errors import SparksError
    from sparks.search.executors import Pieces

    folder = folder.absolute()
    names = {f"piece/{number}": folder / f"{number}.txt" for number in range(_COUNT)}
    work = Pieces.writing(folder, names, functools.partial(_write_once, folder))
    executor.run(work)
    left = [piece for piece in names if not work.done(piece)]
    assert not left, f"{left} are not done, and run has returned"
    assert not workers(folder), f"workers {list(workers(folder))} are still there"
    assert not list((folder / "claims").iterdir()), "claims are left behind"
    before = [path.stat().st_mtime_ns for path in names.values()]
    executor.run(work)
    assert before == [p.stat().st_mtime_ns for p in names.values()], "what was done is done again"
    wrong = Pieces.writing(folder, {"piece/wrong": folder / "wrong.txt"}, _fail)
    raised = ""
    try:
        executor.run(wrong)
    except SparksError as error:
        raised = str(error)
    assert "this piece fails" in raised, f"a piece has failed, and run has raised {raised!r}"


def _write_once(folder: Path, piece: str) -> None:
    with (folder / f"{Path(piece).name}.txt").open("x", encoding="utf-8") as file:
        file.write(piece)


def _fail(piece: str) -> None:
    from sparks.errors import SparksError

    raise SparksError("this piece fails")
