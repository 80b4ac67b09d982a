"""Workers in processes of this machine: each has a GPU to itself, or its share of the cores."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from sparks.claims import new_name
from sparks.errors import SparksError
from sparks.search.executors import Here, Work

log = logging.getLogger("sparks")

PATIENCE = 4  # workers that may die, one after another, without anything being done
_GRACE = 600.0  # seconds for workers to finish an evaluation when they are to stop
_VISIBLE, _THREADS = "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"


class Processes:
    """Processes that end with this one; one that dies is replaced.

    Args:
        jobs: how many; by default one for each GPU, else one.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.gpus = _gpus()
        self.jobs = jobs or max(1, len(self.gpus))

    def run(self, work: Work) -> None:
        """See `sparks.search.executors.Executor.run`."""
        pool = _Pool(work, _shares(self.jobs, self.gpus))
        try:
            pool.run()
        finally:
            pool.stop()


class _Pool:
    """A process for each share of the machine."""

    def __init__(self, work: Work, shares: Sequence[dict[str, Any]]) -> None:
        self.work = work
        self.context = multiprocessing.get_context("spawn")  # forks of threads may hang
        self.errors: Any = self.context.SimpleQueue()
        self.alive: dict[int, tuple[BaseProcess, str, dict[str, Any]]] = {}
        self.dead, self.before = 0, work.left
        for share in shares[: max(1, self.before)]:
            self._begin(share)

    def run(self) -> None:
        while self.alive:
            wait(list(self.alive))
            for sentinel, (process, name, share) in list(self.alive.items()):
                if process.exitcode is None:
                    continue
                del self.alive[sentinel]
                process.join()
                if process.exitcode:
                    self._mourn(process.exitcode, name, share)

    def _begin(self, share: dict[str, Any]) -> None:
        name = new_name()
        arguments = (self.work, name, os.getpid(), share, self.errors)
        process = self.context.Process(target=_be_worker, args=arguments)
        with _environment(share["environment"]):
            process.start()
        self.alive[process.sentinel] = process, name, share

    def _mourn(self, code: int, name: str, share: dict[str, Any]) -> None:
        if not self.errors.empty():
            raise SparksError(self.errors.get())
        self.work.lost(name)
        left = self.work.left
        self.dead = self.dead + 1 if left == self.before else 1
        self.before = left
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        if self.dead >= PATIENCE:
            raise SparksError(
                f"worker processes were ended {self.dead} times ({why}); is memory short? Run it "
                "again with fewer --jobs: what is finished is kept"
            )
        log.warning("a worker process was ended (%s); another goes on, %d are left", why, left)
        self._begin(share)

    def stop(self) -> None:
        """End all that are left: an evaluation is finished first."""
        for process, _, _ in self.alive.values():
            process.terminate()
        end = time.monotonic() + _GRACE
        try:
            for process, _, _ in self.alive.values():
                process.join(max(0.0, end - time.monotonic()))
        finally:
            for process, name, _ in self.alive.values():
                if process.exitcode is None:
                    process.kill()
                    process.join()
                    self.work.lost(name)


def _gpus() -> list[str]:
    """What each GPU of this process is called in its environment; none is begun."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = [name for name in os.environ.get(_VISIBLE, "").split(",") if name]
    return named or [str(index) for index in range(torch.cuda.device_count())]


def _shares(jobs: int, gpus: Sequence[str]) -> list[dict[str, Any]]:
    """For each process its environment, and its cores: its own, or those of several in turn."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    each = max(1, (len(cores) or os.cpu_count() or 1) // jobs)
    shares = []
    for job in range(jobs):
        first = job * each % max(1, len(cores))
        environment = {_THREADS: str(min(each, int(os.environ.get(_THREADS) or each)))}
        environment |= {_VISIBLE: gpus[job % len(gpus)]} if gpus else {}
        shares.append({"environment": environment, "cores": cores[first : first + each]})
    return shares


@contextlib.contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Inside, processes are begun with these variables."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _be_worker(work: Work, name: str, driver: int, share: dict[str, Any], errors: Any) -> None:
    """The body of a process."""
    from sparks.terminal import open_streams

    open_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if share["cores"]:
        os.sched_setaffinity(0, share["cores"])  # before there are threads, which inherit it
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    try:
        Here(name).run(work)
    except KeyboardInterrupt:
        sys.exit(130)
    except SparksError as error:
        errors.put(str(error))
        sys.exit(2)


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(1)
    os._exit(1)  # half an edit is gone on with by the next
