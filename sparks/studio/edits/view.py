"""What a page shows of a run, read from its folder and from the job that makes it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.files import write_text
from sparks.runs.picking import candidates
from sparks.runs.watch import history, read_json
from sparks.search.budget import Budget
from sparks.search.history import HistoryRow
from sparks.settings.yaml import read_settings
from sparks.studio.edits.jobs import RUNNING, Job, last_words

_STAGE = re.compile(r"^ *([0-9.]+)s  (?!evaluation |rendering: )(.+)$", re.MULTILINE)
_TAIL = 2**14  # bytes of a log that are read


@dataclass(frozen=True)
class Video:
    """One of the videos of a run: its file, what it is called, what was said of it, if it shows."""

    file: str
    name: str
    said: str = ""
    shown: bool = False


@dataclass(frozen=True)
class Progress:
    """How far an edit is: its stage, a share from 0 to 1, and the seconds left if that is known."""

    stage: str
    share: float | None = None
    left: float | None = None


@dataclass(frozen=True)
class View:
    """A run as a page shows it."""

    path: str
    title: str
    state: str
    facts: dict[str, Any]
    settings: dict[str, Any]
    result: dict[str, Any]
    rows: list[HistoryRow]
    candidates: list[dict[str, Any]]
    stars: list[int]
    videos: list[Video]
    job: Job | None = None
    progress: Progress | None = None
    error: str = ""
    files: dict[str, str] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    log: str = ""

    @property
    def terms(self) -> list[str]:
        """Names of the terms of the loss."""
        return list(self.rows[0]["losses"]) if self.rows else []


def look(root: Path, path: str, job: Job | None, jobs: Path) -> View:
    """All that is to be seen of the run at `path` below `root` by now.

    Args:
        job: the last one that writes it.
        jobs: the folder of all jobs.
    """
    run = root / path
    facts, result = read_json(run / "run.json"), read_json(run / "result.json")
    settings, rows = _settings(run), _rows(run)
    log = jobs / job.id if job is not None else None
    state = _state(result, job)
    running = job is not None and job.state == RUNNING
    return View(
        path=path,
        title=str(facts.get("prompt") or settings.get("prompt") or (job and job.title) or path),
        state=state,
        facts=facts,
        settings=settings,
        result=result,
        rows=rows,
        candidates=candidates(run) if rows else [],
        stars=read_stars(run),
        videos=_videos(run, result),
        job=job,
        progress=_progress(rows, settings, job, log) if running else None,
        error=last_words(log) if log is not None and state == "failed" else "",
        files=_files(run),
        log=tail(log) if log is not None else "",
        pictures=tuple(n for n in ("contact_sheet.png", "gap.png") if (run / n).is_file()),
    )


def read_stars(run: Path) -> list[int]:
    """Evaluations that somebody marked."""
    stars = read_json(run / "picks" / "stars.json").get("stars")
    return [star for star in stars if isinstance(star, int)] if isinstance(stars, list) else []


def star(run: Path, evaluation: int, count: int) -> None:
    """Mark an evaluation of `count`, or take the mark away.

    Raises:
        SparksError: there is none of this number.
    """
    if not 1 <= evaluation <= count:
        raise SparksError(f"there are evaluations 1 to {count}, and no {evaluation}")
    stars = set(read_stars(run)) ^ {evaluation}
    write_text(run / "picks" / "stars.json", json.dumps({"stars": sorted(stars)}))


def _rows(run: Path) -> list[HistoryRow]:
    try:
        return history(run)
    except SparksError:
        return []


def _settings(run: Path) -> dict[str, Any]:
    try:
        return read_settings(run / "config.yaml")
    except SparksError:
        return {}


def _state(result: dict[str, Any], job: Job | None) -> str:
    if job is not None and job.kind in ("edit", "resume", "transfer") and not job.over:
        return job.state
    if result:
        return "stopped" if result.get("stopped_by") in ("interrupt", "memory") else "finished"
    if job is not None and job.kind in ("edit", "resume", "transfer"):
        return job.state
    return "unfinished"


def _progress(
    rows: list[HistoryRow], settings: dict[str, Any], job: Job | None, log: Path | None
) -> Progress:
    stage = _stage(log) if log is not None else ""
    if job is not None and job.kind not in ("edit", "resume"):
        return Progress(stage or "starting")
    if not rows or not stage.startswith("searching"):
        return Progress(stage or "starting", 1.0 if rows and "full guidance" in stage else None)
    cost = rows[-1]["cost"]
    limits = Budget.parse(str(settings.get("budget") or "qwen_calls=30")).limits()
    share = min(1.0, max((cost.get(name, 0) / limit for name, limit in limits.items()), default=0))
    spent = cost.get("wall_clock", 0.0)
    left = spent * (1 - share) / share if share > 0 else None
    return Progress("searching", share, left)


def _stage(folder: Path) -> str:
    """The last stage that a process has printed."""
    stages = _STAGE.findall(tail(folder))
    return str(stages[-1][1]) if stages else ""


def tail(folder: Path) -> str:
    """The end of what the process of a job has said."""
    try:
        with (folder / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _videos(run: Path, result: dict[str, Any]) -> list[Video]:
    picked = read_json(run / "picked.json")
    what = "transfer" if "p_yes_transfer" in result else "edited"
    last = "picked.mp4" if (run / "picked.mp4").is_file() else "edited.mp4"
    found = [
        Video("source.mp4", "Source", "", True),
        Video("baseline.mp4", "Prompt only", _said(result, "baseline"), True),
        Video("edited.mp4", "Edit", _said(result, what), last == "edited.mp4"),
        Video("picked.mp4", f"Picked, evaluation {picked.get('evaluation')}", _said(picked), True),
    ]
    for file in sorted((run / "picks").glob("[0-9]*.mp4")):
        scores = read_json(file.with_suffix(".json"))
        if scores:
            name = f"Evaluation {scores.get('evaluation')}"
            found.append(Video(f"picks/{file.name}", name, _said(scores)))
    for file in sorted((run / "previews").glob("[0-9]*.mp4"))[-1:]:
        name = f"Best so far, evaluation {int(file.stem)}"
        found.append(Video(f"previews/{file.name}", name, "", not (run / last).is_file()))
    return [video for video in found if (run / video.file).is_file()]


def _said(scores: dict[str, Any], name: str = "") -> str:
    """P(yes) of critic and judge."""
    end = f"_{name}" if name else ""
    judge = f"p_yes_judge{end}"
    told = {"critic": scores.get(f"p_yes{end}"), "judge": scores.get(judge)}
    said = [f"{who} {value:.2f}" for who, value in told.items() if isinstance(value, float)]
    return ", ".join(said)


def _files(run: Path) -> dict[str, str]:
    """What can be saved, by what it is."""
    names = {
        "picked.mp4": "Picked edit",
        "edited.mp4": "Edit",
        "side_by_side.mp4": "Side by side",
        "picked.safetensors": "Controls of the picked edit",
        "best.safetensors": "Controls",
        "config.yaml": "Settings",
        "history.jsonl": "Evaluations",
        "result.json": "Result",
    }
    return {file: what for file, what in names.items() if (run / file).is_file()}


def span(seconds: float | None) -> str:
    """Seconds for people.

    Examples:
        >>> span(8.2), span(125), span(7300), span(None)
        ('8 s', '2 min 5 s', '2 h 2 min', '')
    """
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min"


def ago(moment: float) -> str:
    """How long ago something was."""
    seconds = max(0.0, time.time() - moment)
    if seconds < 60:
        return "just now"
    for unit, size in {"d": 86400, "h": 3600, "min": 60}.items():
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return ""
