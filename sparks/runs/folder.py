"""A run on disk: settings, history, best controls, videos and pictures.

config.yaml         resolved settings, from which the run can be repeated
run.json            seeds and source; versions and machine under `cost`
history.jsonl       one row per evaluation, as of `sparks.search.journal`; machine under `cost`
best.safetensors    best controls, with metadata
source.mp4  baseline.mp4  edited.mp4  side_by_side.mp4  contact_sheet.png  curve.png
kept/  picks/       with --keep: controls of the evaluations, and what was rendered of them
picked.*            what was picked by eye, as of `sparks.runs.picking`
result.json         what `sparks solve --json` prints
"""

import contextlib
import itertools
import json
import logging
import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparks.editors.controls import Controls, save_controls
from sparks.errors import SparksError, shorten
from sparks.files import read_json, replacing, write_text
from sparks.locks import LOCKS
from sparks.media.clip import Clip, contact_sheet, side_by_side, write_clip
from sparks.runs.facts import read_facts
from sparks.runs.result import Result, read_result
from sparks.search.history import HistoryRow, column
from sparks.search.journal import Journal
from sparks.settings.yaml import read_settings

log = logging.getLogger("sparks")

# Facts that decide an edit.
ORIGIN = {"prompt", "source", "clip", "kept", "seeds", "fingerprint"}
_WRITTEN = {
    *(
        "config.yaml",
        "run.json",
        "history.jsonl",
        "state.safetensors",
        "state.previous.safetensors",
    ),
    *("best.safetensors", "baseline.mp4", "edited.mp4", "side_by_side.mp4", "contact_sheet.png"),
    *("curve.png", "result.json", "index.html", "metrics.json", "source.mp4", *LOCKS),
    *("picked.mp4", "picked.safetensors", "picked.json", "picked_side_by_side.mp4"),
}
_FOLDERS = ("previews", "kept", "picks")
SOURCE = "source.mp4"  # as it was edited
# A file of a run while it is being written, as `sparks.files.replacing` names it.
_UNFINISHED = re.compile(
    r"\.(config|run|result|state|best|source|baseline|edited|side_by_side|contact_sheet|curve|gap"
    r"|index|picked|picked_side_by_side)"
    r"-[a-z0-9_]{8}\.(yaml|json|safetensors|mp4|png|html)"
)
_FREE = "-"  # no run has this name
_PLUGINS = ("editor", "critic", "judge", "space", "solver")
_PACKAGES = ("sound-sparks", "torch", "diffusers", "transformers", "lpips", "av", "numpy")


class Run:
    """One run directory, new or begun by an earlier process; nothing is written before `begin`.

    Attributes:
        journal: of its search; None before `begin`.

    Args:
        folder: the directory itself; `runs/<time>-<name>` if None.
        name: of the edit, for the default folder.
        begun: it was begun before, to go on with.
        reading: or only to be looked at, whatever another process does there.

    Raises:
        SparksError: a new folder holds files already or cannot be written; one to go on with holds
            no run, or another process is at it.
    """

    def __init__(
        self,
        folder: Path | None = None,
        name: str = "edit",
        *,
        begun: bool = False,
        reading: bool = False,
    ) -> None:
        self._name = None if folder else _slug(name)  # of a folder that is still to be made
        self.folder = folder or Path("runs") / _slug(name)
        self.journal: Journal | None = None
        if begun:
            self._reopen(reading)
        else:
            try:
                _check_free(self.folder if folder else Path("runs") / _FREE)
            except OSError as error:
                reason = f"{shorten(self.folder)}: {error.strerror}"
                raise SparksError(f"cannot write output {reason}; choose another folder") from error

    def claim(self) -> Path:
        """The folder, which is made now if none was named."""
        if self._name is not None:
            self.folder, self._name = new_folder(self._name), None
        return self.folder

    def begin(self, config: str, facts: Mapping[str, Any], device: str) -> None:
        """Write what is known before the search: settings, seeds, source, versions."""
        self.journal = Journal(self.claim())  # the first: it keeps other processes out
        if (self.folder / "config.yaml").exists():
            self.journal.close()
            raise SparksError(f"another run has begun in {self.folder}; choose another folder")
        self._write_json("run.json", {**facts, "cost": _machine(device)})
        write_text(self.folder / "config.yaml", config)  # the last: with it, the run has begun

    @property
    def recorded(self) -> int:
        """How many evaluations are on disk."""
        return 0 if self.journal is None else len(self.journal.rows)

    @property
    def result(self) -> Result | None:
        """What `finish` wrote, if it did.

        Raises:
            SparksError: it cannot be read.
        """
        path = self.folder / "result.json"
        return read_result(self._read_json("result.json"), path) if path.is_file() else None

    @property
    def code(self) -> str:
        """Options that name again what the run needs of code, as `without_code` wants it."""
        settings = read_settings(self.folder / "config.yaml")
        named = {part: (settings.get(part) or {}).get("name", "") for part in _PLUGINS}
        return "".join(f" --set {part}.name={name}" for part, name in named.items() if ":" in name)

    @property
    def home(self) -> Path:
        """Where the command was started, from which paths in `config.yaml` are read."""
        home = Path(self.facts.get("cost", {}).get("folder", ""))
        return home if home.is_dir() else Path()

    @property
    def facts(self) -> dict[str, Any]:
        """What `begin` wrote of it.

        Raises:
            SparksError: see `read_facts`.
        """
        return read_facts(self.folder / "run.json")

    def check(self, facts: Mapping[str, Any], device: str) -> None:
        """Compare what is edited now with what was; say if other software or hardware does it.

        Raises:
            SparksError: source, prompt, seeds, weights or settings are others.
        """
        recorded = self.facts
        for key in recorded.keys() & ORIGIN:
            if (now := json.loads(json.dumps(facts.get(key)))) != recorded[key]:
                raise SparksError(
                    f"{key} of run {self.folder} was {recorded[key]}, now it is {now}; "
                    "bring it back, or start a new run"
                )
        # Settings at their defaults are not among them.
        now = facts["settings"]
        before = recorded.get("settings", now)
        if changed := sorted(name for name in before | now if before.get(name) != now.get(name)):
            raise SparksError(
                f"{', '.join(changed)} in {self.folder / 'config.yaml'} changed since the run "
                "began; bring it back, or start a new run"
            )
        now, before = _machine(device), recorded.get("cost", {})
        for key in before.keys() & {"device", "versions"}:
            if before[key] != now[key]:
                log.warning(
                    "%s of run %s: %s before, %s now; what follows may differ from one process's",
                    *(key, self.folder, before[key], now[key]),
                )

    def close(self) -> None:
        """Let other processes at it."""
        if self.journal is not None:
            self.journal.close()

    def _reopen(self, reading: bool) -> None:
        if not is_run(self.folder):
            raise SparksError(
                f"no run at {self.folder} to go on with; name a folder with the config.yaml and "
                "run.json of a run, or start one without --resume"
            )
        if reading or (self.result is not None and self.result.finished):
            return  # it can be told of wherever it lies, on a disk that nothing can be written to
        self.journal = Journal(self.folder)
        for path in self.folder.iterdir():  # being written when the process ended
            if _UNFINISHED.fullmatch(path.name):
                with contextlib.suppress(OSError):
                    path.unlink()

    def save_best(self, controls: Controls, metadata: Mapping[str, Any]) -> None:
        """Write the best controls; metadata values other than text are stored as JSON."""
        save_controls(self.folder / "best.safetensors", controls, as_texts(metadata))

    def save_videos(
        self, source: Clip, baseline: Clip, edited: Clip, recipe: str, pictures: bool = True
    ) -> None:
        """Write the videos and, with `pictures`, what puts them side by side."""
        trio = {"source": source, "baseline": baseline, "edited": edited}
        videos = {"baseline.mp4": baseline, "edited.mp4": edited}
        if pictures:
            videos["side_by_side.mp4"] = side_by_side(list(trio.values()))
        with ThreadPoolExecutor() as pool:  # encoders need Python as little as drawing needs them
            written = [
                pool.submit(write_clip, self.folder / name, clip, comment=recipe)
                for name, clip in videos.items()
            ]
            if pictures:
                rows = {name: clip.frames for name, clip in trio.items()}
                contact_sheet(self.folder / "contact_sheet.png", rows)
        for each in written:
            each.result()

    def finish(self, result: Result, pictures: bool = True) -> None:
        """Write the curve, with `pictures`, and the result."""
        assert self.journal is not None  # there is no result before `begin`
        if pictures:
            draw_curve(self.folder / "curve.png", self.journal.rows)
        self._write_json("result.json", result.json())
        if result.finished:
            self.journal.finish()

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = read_json(path)
            if not isinstance(content, dict):
                raise ValueError("it holds no table")
        except (OSError, ValueError) as error:
            raise SparksError(f"cannot read {path} ({error}); start a new run") from error
        return content

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(content, indent=2, allow_nan=False) + "\n")


def as_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as safetensors take it: what is no text becomes JSON."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}


def draw_curve(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write a PNG of total loss and P(yes) over the evaluations."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    loss = figure.subplots()
    answer = loss.twinx()
    steps = [row["index"] for row in rows]
    loss.plot(steps, column(rows, "total"), color="tab:blue", label="total loss")
    answer.plot(steps, column(rows, "p_yes"), color="tab:orange", label="P(yes)")
    best = [row for row in rows if row["best"]][-1:]
    loss.plot([r["index"] for r in best], [r["total"] for r in best], "o", color="tab:blue")
    loss.set(xlabel="evaluation", ylabel="total loss")
    answer.set(ylabel="P(yes)", ylim=(0, 1))
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _machine(device: str) -> dict[str, Any]:
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "folder": str(Path.cwd()),
        "device": device,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def new_folder(name: str) -> Path:
    """Make a folder for results that were given no place; no other process gets the same.

    Raises:
        SparksError: it cannot be made here.
    """
    first = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    for path in itertools.chain([first], numbered):
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise SparksError(f"cannot make {path}: {error.strerror}; give --output") from error
        return path
    raise AssertionError  # numbers do not end


def is_run(folder: Path) -> bool:
    """Whether `folder` was written by a run that has begun: settings, and facts that name a source.

    Other programs' folders have a `config.yaml` too; theirs is not ours to write into.
    """
    try:
        facts = read_json(folder / "run.json")
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and "source" in facts and (folder / "config.yaml").is_file()


def discard(folder: Path) -> None:
    """Remove what a run wrote into `folder`, and the folder if nothing else is left in it."""
    if not is_run(folder):
        return
    for path in folder.iterdir():
        if path.name in _FOLDERS and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name in _WRITTEN or _UNFINISHED.fullmatch(path.name):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _check_free(folder: Path) -> None:
    if folder.is_dir() and any(not _half_begun(path) for path in folder.iterdir()):
        begun = f", or go on with --resume {folder}" if (folder / "config.yaml").is_file() else ""
        raise SparksError(f"output {folder} is not empty; choose a new folder or empty it{begun}")
    if folder.exists() and not folder.is_dir():
        raise SparksError(f"output {folder} is a file; choose a folder")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise SparksError(f"cannot write output {folder} into {existing}; choose another folder")


def _half_begun(path: Path) -> bool:
    """Whether a process that ended before its run had begun may have left this file."""
    if path.name == "history.jsonl":
        return path.is_file() and not path.is_symlink() and path.stat().st_size == 0
    begun = (path.parent / "config.yaml").exists()
    early = path.name in ("run.json", *LOCKS) or bool(_UNFINISHED.fullmatch(path.name))
    return early and not begun


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "edit"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
