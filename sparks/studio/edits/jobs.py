"""Jobs on disk: what is to be done, by which process, and how that ended.

JOB/job.json       what is known of it; written whole at every change
JOB/settings.yaml  of an edit
JOB/pid  JOB/exit.json    of its process: while it runs, and once it has ended
JOB/log.txt  JOB/out.json    what it said
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.files import read_json, write_text

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
OVER = (DONE, FAILED, STOPPED)
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


@dataclass(frozen=True)
class Job:
    """One `sparks` command.

    Attributes:
        id: its folder's name.
        arguments: of the command.
        title: for people.
        kind: `edit`, `resume`, `render`, `pick` or `transfer`.
        run: the run folder that it writes, relative to the folder of all runs.
        state: waiting, running, done, failed or stopped.
        order: its place among those that wait; small ones first.
        device: where it runs or ran.
        created, started, ended: seconds since 1970.
        code: how its process ended.
        begun: how often it was.
        stopping: how often it was asked to stop.
    """

    id: str
    arguments: tuple[str, ...]
    title: str
    kind: str
    run: str
    state: str = WAITING
    order: float = 0.0
    device: str | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    code: int | None = None
    begun: int = 0
    stopping: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in OVER


def new_id() -> str:
    """A name for a job, no other's."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def folder_of(jobs: Path, id: str) -> Path:
    """Where a job is.

    Raises:
        SparksError: no job has such a name.
    """
    if not _ID.fullmatch(id):
        raise SparksError(f"no job is called {id!r}")
    return jobs / id


def save(jobs: Path, job: Job) -> None:
    """Write what is known of a job, in one step."""
    text = json.dumps(asdict(job), indent=1, ensure_ascii=False)
    write_text(folder_of(jobs, job.id) / "job.json", text + "\n")


def load_all(jobs: Path) -> list[Job]:
    """Every job that can be read, in the order in which they were made."""
    found = [load(path) for path in sorted(jobs.glob("*/job.json"))]
    return [job for job in found if job is not None]


def load(path: Path) -> Job | None:
    """The job of a `job.json`; None where there is none."""
    try:
        content: dict[str, Any] = read_json(path)
        job = Job(**{**content, "arguments": tuple(content["arguments"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return job if job.id == path.parent.name and _ID.fullmatch(job.id) else None


def exit_code(folder: Path) -> int | None:
    """How the process of a job ended; None if it has not, or could not say so."""
    try:
        code = read_json(folder / "exit.json")["code"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return code if isinstance(code, int) else None


def last_words(folder: Path) -> str:
    """The error that ended a job, or the last thing that it said."""
    try:
        lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or [line for line in lines if line.strip()] or [""])[-1]


def ended(job: Job, code: int | None, at: float) -> Job:
    """The job once its process has ended."""
    state = DONE if code == 0 else STOPPED if job.stopping or code == 130 else FAILED
    return replace(job, state=state, code=code, ended=at)
