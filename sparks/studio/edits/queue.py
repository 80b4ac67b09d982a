"""The queue: one `sparks` process for each device; files on disk, so that nothing is lost.

Processes live on when the server ends, however it does; the next one finds them by their locks,
and goes on with what was cut off.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sparks.errors import SparksError
from sparks.files import write_text
from sparks.locks import locked
from sparks.runs.folder import is_run
from sparks.studio.edits.jobs import (
    RUNNING,
    STOPPED,
    WAITING,
    Job,
    ended,
    exit_code,
    folder_of,
    load_all,
    new_id,
    save,
)

_STARTING = 15.0  # seconds in which a process gets to its lock
_MOST_BEGUN = 3  # times that a job which is cut off is taken up again
_BEAT = 0.3  # seconds


class Queue:
    """Jobs, and the processes that do them.

    Args:
        folder: where jobs are.
        root: the folder of all runs.
        devices: `cpu`, or `cuda:N` each; one job at a time runs on each.

    Raises:
        SparksError: another server is at it.
    """

    def __init__(self, folder: Path, root: Path, devices: Sequence[str]) -> None:
        self.folder, self.root, self.devices = folder, root, tuple(devices)
        self._changing, self._over = threading.RLock(), threading.Event()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._opened = contextlib.ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        if not self._opened.enter_context(locked(folder)):
            raise SparksError(f"another studio is at work in {root}; open that one, or stop it")
        self._jobs = {job.id: job for job in load_all(folder)}

    def start(self) -> None:
        """Begin to run what waits."""
        threading.Thread(target=self._live, daemon=True).start()

    def close(self) -> None:
        """Leave the jobs alone: those that run go on, the others wait for the next server."""
        self._over.set()
        with self._changing:
            self._opened.close()

    def jobs(self) -> list[Job]:
        """Those that run, those that wait in their order, then the others, latest first."""
        ranks = {RUNNING: 0, WAITING: 1}
        with self._changing:
            found = list(self._jobs.values())
        return sorted(
            found,
            key=lambda j: (ranks.get(j.state, 2), j.order if not j.over else -(j.ended or 0)),
        )

    def job(self, id: str) -> Job:
        """One of them.

        Raises:
            SparksError: there is none of this name.
        """
        with self._changing:
            if id not in self._jobs:
                raise SparksError(f"no job is called {id!r}")
            return self._jobs[id]

    def add(
        self,
        kind: str,
        arguments: Sequence[str],
        title: str,
        run: str,
        settings: str | None = None,
    ) -> Job:
        """Queue a `sparks` command.

        Args:
            settings: YAML, which is given to it by `--config`.
        """
        with self._changing:
            last = max((job.order for job in self._jobs.values()), default=0.0)
            job = Job(new_id(), tuple(arguments), title, kind, run, order=last + 1)
            job = replace(job, created=time.time())
            if settings is not None:
                path = folder_of(self.folder, job.id) / "settings.yaml"
                write_text(path, settings)
                job = replace(job, arguments=(*job.arguments, "--config", str(path.absolute())))
            self._keep(job)
        self.tick()
        return self.job(job.id)

    def stop(self, id: str) -> None:
        """Take a waiting job out; end a running one after its evaluation, the next time at once."""
        with self._changing:
            job = self.job(id)
            if job.state == WAITING:
                self._keep(replace(job, state=STOPPED, ended=time.time()))
            elif job.state == RUNNING:
                self._keep(replace(job, stopping=job.stopping + 1))
                self._interrupt(id)

    def move(self, id: str, by: int) -> None:
        """Change a waiting job's place by so many."""
        with self._changing:
            waiting = [job.id for job in self.jobs() if job.state == WAITING]
            if id not in waiting:
                return
            place = waiting.index(id)
            waiting.insert(max(0, place + by), waiting.pop(place))
            for order, each in enumerate(waiting):
                self._keep(replace(self._jobs[each], order=float(order)))

    def again(self, id: str) -> Job:
        """Queue what a job that is over was to do, or what is left of it."""
        job = self.job(id)
        if not job.over:
            return job
        with self._changing:
            return self._again(job)

    def tick(self) -> None:
        """Notice what has ended, and start what may."""
        with self._changing:
            for job in list(self._jobs.values()):
                if job.state == RUNNING:
                    self._look_after(job)
            for device in self._free():
                waiting = [job for job in self.jobs() if job.state == WAITING]
                if waiting:
                    self._begin(waiting[0], device)

    def _live(self) -> None:
        while not self._over.wait(_BEAT):
            with contextlib.suppress(SparksError, OSError):  # of a full disk; it may get room
                self.tick()

    def _keep(self, job: Job) -> None:
        save(self.folder, job)
        self._jobs[job.id] = job

    def _free(self) -> list[str]:
        taken = {job.device for job in self._jobs.values() if job.state == RUNNING}
        return [device for device in self.devices if device not in taken]

    def _begin(self, job: Job, device: str) -> None:
        folder = folder_of(self.folder, job.id)
        self._keep(
            replace(job, state=RUNNING, device=device, started=time.time(), begun=job.begun + 1)
        )
        number = device.removeprefix("cuda:") if device.startswith("cuda:") else ""
        with (folder / "log.txt").open("ab") as log, (folder / "out.json").open("wb") as out:
            self._processes[job.id] = subprocess.Popen(
                [sys.executable, "-m", "sparks.studio.edits.work", str(folder.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,  # what ends the server ends none of them
                env={**os.environ, "CUDA_VISIBLE_DEVICES": number, "PYTHONUNBUFFERED": "1"},
            )

    def _look_after(self, job: Job) -> None:
        folder = folder_of(self.folder, job.id)
        process = self._processes.get(job.id)
        if process is not None and process.poll() is None:
            return
        code = exit_code(folder)
        if code is None and self._alive(job, folder):
            return
        self._processes.pop(job.id, None)
        if code is None and not job.stopping and job.begun < _MOST_BEGUN:
            self._keep(replace(self._onward(job), state=WAITING, order=-1.0, device=None))
        else:
            self._keep(ended(job, code, time.time()))

    def _alive(self, job: Job, folder: Path) -> bool:
        """Whether a process that another server started is still at it, or about to be."""
        if job.id not in self._processes and time.time() - (job.started or 0) < _STARTING:
            return True
        with locked(folder) as free:
            return not free

    def _onward(self, job: Job) -> Job:
        """The job as it goes on: with what its run has done, if that has begun."""
        run = self.root / job.run
        if job.kind == "edit" and is_run(run):
            return replace(job, kind="resume", arguments=("solve", "--resume", str(run.absolute())))
        return job

    def _again(self, job: Job) -> Job:
        folder = folder_of(self.folder, job.id)
        (folder / "exit.json").unlink(missing_ok=True)
        last = max((each.order for each in self._jobs.values()), default=0.0)
        fresh = replace(self._onward(job), state=WAITING, order=last + 1, stopping=0, begun=0)
        fresh = replace(fresh, device=None, started=None, ended=None, code=None)
        self._keep(fresh)
        return fresh

    def _interrupt(self, id: str) -> None:
        """As Ctrl-C; a process that has the lock is the one that wrote its number."""
        folder = folder_of(self.folder, id)
        with locked(folder) as free:
            if free:
                return
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((folder / "pid").read_text()), signal.SIGINT)
