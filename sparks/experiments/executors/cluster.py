"""Workers as actors of Ray, a GPU each, on this machine or on a cluster by its address."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sparks.claims import new_name, piece_of
from sparks.errors import SparksError
from sparks.experiments.executors.processes import PATIENCE
from sparks.search.executors import Work

log = logging.getLogger("sparks")

_STORE = 100 * 2**20  # bytes of the object store: only names go through it


class Ray:
    """Actors that stay, with the models they have loaded, until no piece is left.

    Args:
        jobs: how many actors, by default as many as there is room for.
        address: of a cluster, e.g. auto or ray://HOST:10001; by default Ray is begun here.
        num_gpus: of each actor, by default 1 where there are any.
        num_cpus: of each actor.
    """

    def __init__(
        self,
        jobs: int | None = None,
        address: str | None = None,
        num_gpus: float | None = None,
        num_cpus: float = 1.0,
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told
        try:
            import ray
        except ImportError as error:
            raise SparksError(
                "ray is not installed; pip install 'sound-sparks[ray]', or choose another"
            ) from error
        self.ray, self.jobs, self.address = ray, jobs, address
        self.num_gpus, self.num_cpus = num_gpus, num_cpus

    def run(self, work: Work) -> None:
        """See `sparks.search.executors.Executor.run`."""
        if not (left := work.left):
            return
        with self._cluster() as room:
            gpus = float("GPU" in room) if self.num_gpus is None else self.num_gpus
            need = {"GPU": gpus, "CPU": self.num_cpus}
            places = [int(room.get(name, 0) / each) for name, each in need.items() if each]
            jobs = self.jobs or max(1, min(places, default=1))
            actor = self.ray.remote(num_gpus=gpus, num_cpus=self.num_cpus)(Actor)
            _Troupe(self.ray, actor, work).run(min(jobs, left))

    @contextmanager
    def _cluster(self) -> Iterator[dict[str, float]]:
        """Resources of the cluster, which ends with this if it was begun here."""
        ray, begun = self.ray, not self.ray.is_initialized()
        try:
            if begun and self.address is not None:
                ray.init(address=self.address)
            elif begun:
                ray.init(include_dashboard=False, object_store_memory=_STORE)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SparksError(f"Ray at {self.address or 'this machine'}: {error}") from error
        try:
            yield ray.cluster_resources()
        finally:
            if begun:
                ray.shutdown()


class _Troupe:
    """The actors of some work, each asked for one piece after another."""

    def __init__(self, ray: Any, actor: Any, work: Work) -> None:
        self.ray, self.actor, self.work = ray, actor, work
        self.pending: dict[Any, tuple[Any, str]] = {}
        self.deaths = 0

    def run(self, jobs: int) -> None:
        try:
            for _ in range(jobs):
                self._begin()
            while self.pending:
                (done, *_), _ = self.ray.wait(list(self.pending), num_returns=1)
                self._hear(done, *self.pending.pop(done))
        finally:
            for actor, name in self.pending.values():
                self.ray.kill(actor)
                self.work.lost(name)

    def _begin(self) -> None:
        name = new_name()
        actor = self.actor.remote(self.work, name)
        self.pending[actor.step.remote()] = actor, name

    def _hear(self, done: Any, actor: Any, name: str) -> None:
        try:
            piece = self.ray.get(done)
        except self.ray.exceptions.RayActorError as error:
            self._mourn(name, error)
        except self.ray.exceptions.RayTaskError as error:
            text = str(error).strip().splitlines()[-1]
            raise SparksError(text.partition("SparksError: ")[2] or text) from error
        else:
            self.deaths = 0
            if piece is None:
                self.ray.get(actor.end.remote())
            else:
                self.pending[actor.step.remote()] = actor, name

    def _mourn(self, name: str, error: Exception) -> None:
        """Say over which piece an actor died, and have another go on with it."""
        piece = piece_of(self.work.folder, name) or "no piece"
        self.work.lost(name)
        self.deaths += 1
        why = str(error).strip().splitlines()[0]
        if self.deaths >= PATIENCE:
            raise SparksError(f"actors died {self.deaths} times in a row, now at {piece}: {why}")
        log.warning("an actor died at %s; another goes on: %s", piece, why)
        self._begin()


class Actor:
    """A worker in a process of Ray's."""

    def __init__(self, work: Work, name: str) -> None:
        from sparks.terminal import open_streams

        open_streams()
        self._worker = work.begin(name)

    def step(self) -> str | None:
        """Do one piece; None once none is left."""
        return self._worker.step()

    def end(self) -> None:
        """Say that this worker is gone."""
        self._worker.end()
