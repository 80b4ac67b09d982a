"""Workers as jobs of a batch system, an array of them, by way of submitit."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from sparks.errors import SparksError
from sparks.search.executors import Here, Work

log = logging.getLogger("sparks")

_TIMEOUTS = 1000  # how often a job may be queued again because its time was over


class Submitit:
    """SLURM jobs, or what else submitit knows; their logs are in `jobs` in the folder.

    A job whose time is over, or that another pre-empts, gives its edit back, is queued again and
    goes on. The jobs need nobody to wait for them.

    Args:
        jobs: how many.
        cluster: `slurm` where there is one, else `local`.
        timeout_min: of a job, after which it is queued again.
        gpus_per_node: of a job, by default 1 where there are GPUs or a batch system.
        parameters: what else submitit takes, e.g. slurm_partition, slurm_account, mem_gb.
    """

    def __init__(
        self,
        jobs: int | None = None,
        cluster: str | None = None,
        timeout_min: int = 240,
        gpus_per_node: int | None = None,
        **parameters: Any,
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise SparksError(
                "submitit is not installed; pip install 'sound-sparks[submitit]', or choose another"
            ) from error
        self._auto = submitit.AutoExecutor
        self.jobs, self.cluster = jobs or 1, cluster
        self.parameters = {"name": "sparks", "timeout_min": timeout_min, **parameters}
        self.gpus = gpus_per_node

    def run(self, work: Work) -> None:
        """See `sparks.search.executors.Executor.run`."""
        before = None
        while (left := work.left) and left != before:
            before = left
            jobs = self._submit(work, min(self.jobs, left))
            errors = self._wait(work, jobs)
            if errors:
                raise SparksError(f"{errors[0]}; its log is in {work.folder / 'jobs'}")
        if left:
            raise SparksError(
                f"all {self.jobs} jobs have ended and {left} pieces are left; see "
                f"{work.folder / 'jobs'}, and run it again"
            )

    def _submit(self, work: Work, count: int) -> Sequence[Any]:
        timeouts = {f"{name}_max_num_timeout": _TIMEOUTS for name in ("slurm", "local")}
        try:
            executor = self._auto(folder=work.folder / "jobs", cluster=self.cluster, **timeouts)
            gpus = self._gpus(executor.cluster) if self.gpus is None else self.gpus
            executor.update_parameters(**self.parameters, gpus_per_node=gpus)
            with executor.batch():
                jobs = [executor.submit(Job(work)) for _ in range(count)]
        except (NameError, ValueError, RuntimeError, OSError) as error:  # as submitit refuses
            raise SparksError(f"submitit refuses to submit: {error}") from error
        log.warning("jobs %s are submitted", ", ".join(str(job.job_id) for job in jobs))
        return jobs

    def _gpus(self, cluster: str) -> int:
        import torch

        return int(cluster != "local" or torch.cuda.is_available())

    def _wait(self, work: Work, jobs: Sequence[Any]) -> list[str]:
        """What the jobs raised that failed by themselves, once all have ended."""
        try:
            errors = [str(error) for job in jobs if (error := job.exception()) is not None]
        except KeyboardInterrupt:
            log.warning(
                "the jobs go on by themselves: sparks watch %s shows them, scancel %s ends them",
                *(work.folder, " ".join(str(job.job_id) for job in jobs)),
            )
            raise
        return [said[-1] for text in errors if (said := re.findall("SparksError: (.*)", text))]


class Job:
    """A worker that the batch system may stop and queue again."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self) -> None:
        """Work until nothing is left."""
        from sparks.terminal import open_streams

        open_streams()
        Here().run(self.work)

    def checkpoint(self) -> Any:
        """Called before the end: what was evaluated is saved, and the worker leaves as it exits."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
