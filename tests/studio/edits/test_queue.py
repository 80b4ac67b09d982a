"""The queue outlives whatever ends: its server, its processes, or both at once."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sparks.errors import SparksError
from sparks.locks import locked
from sparks.runs.watch import history, read_json
from sparks.studio.edits.jobs import Job, exit_code, load_all
from sparks.studio.edits.queue import Queue

HELP = ("--help",)


@contextlib.contextmanager
def opened(root: Path, *devices: str) -> Iterator[Queue]:
    queue = Queue(root / ".studio" / "jobs", root, devices or ("cpu",))
    with contextlib.closing(queue):
        yield queue


def until(queue: Queue, met: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, queue.jobs()
        time.sleep(0.1)
        queue.tick()


def states(queue: Queue) -> list[str]:
    return [queue.job(id).state for id in sorted(job.id for job in queue.jobs())]


def add(queue: Queue, title: str = "help", arguments: tuple[str, ...] = HELP) -> Job:
    return queue.add("edit", arguments, title, title)


def waiting(queue: Queue) -> list[str]:
    return [job.title for job in queue.jobs() if job.state == "waiting"]


def test_one_job_a_device_at_a_time_and_all_in_the_end(tmp_path: Path) -> None:
    with opened(tmp_path, "cuda:0", "cuda:3") as queue:
        jobs = [add(queue, str(number)) for number in range(3)]
        devices = set()

        def over() -> bool:
            running = [job.device for job in queue.jobs() if job.state == "running"]
            assert len(running) == len(set(running))
            devices.update(running)
            return all(job.over for job in queue.jobs())

        until(queue, over)
        assert devices <= {"cuda:0", "cuda:3"}
        assert {job.state for job in queue.jobs()} == {"done"}
        out = (queue.folder / jobs[0].id / "out.json").read_text()
        assert "Make a video do what its prompt asks" in out


def test_what_waits_is_put_in_order_and_taken_out(tmp_path: Path) -> None:
    with opened(tmp_path, "none") as queue:
        queue.devices = ()
        jobs = {title: add(queue, title) for title in "abcd"}
        queue.move(jobs["c"].id, -1)
        assert waiting(queue) == ["a", "c", "b", "d"]
        queue.move(jobs["a"].id, -1)
        queue.move(jobs["a"].id, 1)
        assert waiting(queue) == ["c", "a", "b", "d"]
        queue.stop(jobs["b"].id)
        assert waiting(queue) == ["c", "a", "d"]
        queue.again(jobs["b"].id)
        assert waiting(queue) == ["c", "a", "d", "b"]
    with opened(tmp_path, "none") as queue:  # the next server has them as they were
        queue.devices = ()
        assert waiting(queue) == ["c", "a", "d", "b"]


def test_two_servers_do_not_share_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(SparksError, match="another studio is at work in"):
        Queue(tmp_path / ".studio" / "jobs", tmp_path, ["cpu"])
    with opened(tmp_path):
        pass


def test_a_mistake_ends_a_job_and_is_told(tmp_path: Path) -> None:
    from sparks.studio.edits.jobs import last_words

    with opened(tmp_path) as queue:
        job = add(queue, "wrong", ("watch", str(tmp_path / "nowhere")))
        until(queue, lambda: queue.job(job.id).over)
        assert (queue.job(job.id).state, queue.job(job.id).code) == ("failed", 2)
        assert last_words(queue.folder / job.id).startswith("no run at")


def test_a_damaged_job_is_left_out_and_no_name_leads_elsewhere(tmp_path: Path) -> None:
    with opened(tmp_path, "none") as queue:
        queue.devices = ()
        kept = add(queue)
        (queue.folder / "20260101-000000-aaaaaa").mkdir()
        (queue.folder / "20260101-000000-aaaaaa" / "job.json").write_text('{"id": "../../x"}')
        assert [job.id for job in load_all(queue.folder)] == [kept.id]
        for name in ("../../x", "", "x/y", "20260101-000000-aaaaaa/.."):
            with pytest.raises(SparksError, match="no job is called"):
                queue.stop(name)


QUICK = ("--set", "sampling.num_inference_steps=2", "--set", "sampling.grad_steps=1")
SOLVE = ("solve", *QUICK, "--budget", "qwen_calls=900", "--solver", "random")


def test_a_search_outlives_its_server_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Twice over: the server is gone while it runs; then the process itself is killed."""
    run = tmp_path / "run"
    with opened(tmp_path) as queue:
        job = add(queue, "run", (*SOLVE, "--output", str(run)))
        until(queue, lambda: (run / "history.jsonl").exists() and len(history(run)) >= 2)
    rows = history(run)
    with opened(tmp_path) as queue:
        queue.tick()
        found = queue.job(job.id)
        assert found.state == "running"
        queue._keep(replace(found, started=found.started - 60))  # type: ignore[operator]
        queue.tick()
        assert queue.job(job.id).state == "running"  # its lock says that it lives
        pid = int((queue.folder / job.id / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        until(queue, lambda: not _alive(pid))
        until(queue, lambda: queue.job(job.id).kind == "resume")
        until(queue, lambda: (tmp_path / "run" / ".lock").exists(), 30)
        until(queue, lambda: len(history(run)) > len(rows))
        queue.stop(job.id)
        until(queue, lambda: queue.job(job.id).over)
        assert queue.job(job.id).state == "stopped"
        assert read_json(run / "result.json")["stopped_by"] == "interrupt"  # rendered so far
        assert history(run)[: len(rows)] == rows
        assert exit_code(queue.folder / job.id) == 130
        queue.devices = ()
        assert queue.again(job.id).arguments == ("solve", "--resume", str(run))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]


def test_how_a_command_ended_is_known() -> None:
    from sparks.studio.edits.work import as_number

    assert [as_number(code) for code in (None, 0, 2, 130, "out of luck")] == [0, 0, 2, 130, 1]


def test_a_job_is_run_by_one_process_only(tmp_path: Path) -> None:
    from sparks.studio.edits import work

    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"arguments": ["--help"]}))
    with locked(folder) as free, pytest.MonkeyPatch.context() as patch:
        assert free
        patch.setattr(work, "_PAUSE", 0.01)
        assert work.main(folder) == 0
    assert not (folder / "exit.json").exists()
    (folder / "exit.json").write_text('{"code": 2}')
    before = list(sys.argv)
    assert work.main(folder) == 0  # it was done by another one, which has ended since
    assert sys.argv == before
