"""Every evaluation's controls on disk, so that any of them can become the edit: `--keep`.

kept/0012.safetensors    `z [k]` of evaluation 12, from which a space decodes its controls
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from sparks.errors import SparksError
from sparks.files import replacing
from sparks.search.evaluation import Evaluation, z_sha256
from sparks.search.history import HistoryRow
from sparks.search.problem import EditProblem

log = logging.getLogger("sparks")

FOLDER = "kept"
BEST, ALL = "best", "all"
_SPARE = 2**28  # bytes of the disk that are left alone
_FLOAT = 4  # bytes


def read_keep(text: str) -> int | None:
    """How many evaluations are kept beside the best: 0 of `best`, N of `N`, None of `all`.

    Raises:
        SparksError: it is none of these.

    Examples:
        >>> read_keep("best"), read_keep("12"), read_keep("all")
        (0, 12, None)
    """
    if text in (BEST, ALL):
        return 0 if text == BEST else None
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise SparksError(f"keep={text!r} is not usable; write all, best, or how many, e.g. 12")


class Keeping:
    """An observer that writes the candidates of a search, or the N of them with the lowest totals.

    It is told before the history is: what a row tells of is on disk, whenever the process ends. The
    clock of the budget stands still meanwhile.

    Args:
        folder: the run directory.
        most: how many are kept; None for all.
        problem: of the search.

    Raises:
        SparksError: the disk has no room for them.
    """

    def __init__(self, folder: Path, most: int | None, problem: EditProblem) -> None:
        self.folder, self.most, self.problem = folder / FOLDER, most, problem
        self.totals: dict[int, float] = {}
        self._check_room()

    @property
    def plan(self) -> str:
        """What will be on disk at most, for people."""
        count, each = self._count(), self.problem.dim * _FLOAT
        if count is None:
            return f"every evaluation's controls are kept: {_size(each)} each"
        return f"controls of up to {count} evaluations are kept: {_size(count * each)}"

    def __call__(self, evaluations: list[Evaluation]) -> None:
        """A batch was scored, or recalled."""
        with self.problem.meter.paused():
            for evaluation in evaluations:
                self._keep(evaluation)

    def _keep(self, evaluation: Evaluation) -> None:
        if not evaluation.finite:
            return
        self.totals[evaluation.index] = evaluation.total
        kept = sorted(self.totals, key=lambda index: (self.totals[index], index))[: self.most]
        if evaluation.index in kept:
            _write(kept_path(self.folder.parent, evaluation.index), evaluation.z)
        for index in self.totals.keys() - set(kept):
            with contextlib.suppress(OSError):
                kept_path(self.folder.parent, index).unlink()
            del self.totals[index]

    def _count(self) -> int | None:
        left = self.problem.affordable()
        planned = None if left is None else self.problem.meter.renders + left
        counts = [count for count in (self.most, planned) if count is not None]
        return min(counts, default=None)

    def _check_room(self) -> None:
        needed = (self._count() or 1) * self.problem.dim * _FLOAT
        free = shutil.disk_usage(self.folder.parent).free - _SPARE
        if needed > free:
            raise SparksError(
                f"keeping every evaluation takes {_size(needed)}, and the disk of "
                f"{self.folder.parent} has {_size(max(0, free))} to spare; keep fewer, "
                "e.g. --keep 5, or write elsewhere"
            )

    def recall(self, rows: Sequence[HistoryRow]) -> None:
        """Know what an earlier process kept of these rows."""
        for row in rows:
            if row["total"] is not None and kept_path(self.folder.parent, row["index"]).is_file():
                self.totals[row["index"]] = row["total"]


def kept_path(run: Path, index: int) -> Path:
    """Where the candidate with this index in the history is; people count from one."""
    return run / FOLDER / f"{index + 1:04}.safetensors"


def load_kept(run: Path, row: HistoryRow) -> Tensor:
    """`z [k]` of the evaluation that a row tells of.

    Raises:
        SparksError: it was not kept, or is another one.
    """
    from safetensors import SafetensorError, safe_open

    path, number = kept_path(run, row["index"]), row["index"] + 1
    if not path.is_file():
        raise SparksError(
            f"evaluation {number} of {run} was not kept; search again with --keep all"
        )
    try:
        with safe_open(str(path), "pt") as file:
            z: Tensor = file.get_tensor("z")
    except (OSError, SafetensorError) as error:
        raise SparksError(f"cannot read {path} ({error}); pick another evaluation") from error
    if z_sha256(z) != row["z_sha256"]:
        raise SparksError(f"{path} is not what evaluation {number} scored; pick another one")
    return z


def _write(path: Path, z: Tensor) -> None:
    from safetensors.torch import save

    if path.is_file():  # a search that goes on tells of its last batch again
        return
    with replacing(path) as temporary:
        temporary.write_bytes(save({"z": z.detach().cpu().float().contiguous()}))


def _size(count: int) -> str:
    """Bytes for people."""
    for unit, size in {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}.items():
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
