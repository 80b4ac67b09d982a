"""Workers on a shared folder: each piece once, whoever dies, is slow, or comes late."""

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sparks.claims import Claims, Watch, Worker, workers
from sparks.errors import SparksError
from sparks.experiments.ablate import plan_ablation, settings_of
from sparks.experiments.bench import work_on
from sparks.experiments.cells import finished, load_plan
from sparks.experiments.executors.batch import Submitit
from sparks.experiments.executors.cluster import Ray
from sparks.experiments.executors.processes import Processes
from sparks.experiments.tasks import task_list
from sparks.search.executors import Here, Pieces
from sparks.settings.yaml import read_settings
from sparks.testing import check_executor
from tests.experiments.ending import end_once
from tests.workplace import COST

CODE = ("--code", "plugins.py:Redness")


def rows(folder: Path) -> list[dict[str, Any]]:
    """What is finished, without what no two runs have alike."""
    return [
        {name: value for name, value in row.items() if name not in COST}
        for row in finished(folder, load_plan(folder))
    ]


def planned(folder: Path, budget: str = "qwen_calls=2", seeds: int = 2) -> Path:
    """Four cells of the workplace."""
    settings = read_settings("settings.yaml") | {"budget": budget}
    plan = plan_ablation(
        "modes", settings, settings_of("modality", ["text", "audio"]), task_list("one.yaml"),
        seeds=seeds,
    )  # fmt: skip
    folder.mkdir()
    plan.save(folder)
    return folder


def start(folder: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sparks.cli", "work", str(folder), *CODE, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_only_one_takes_a_piece_and_a_dead_worker_holds_none(tmp_path: Path) -> None:
    with Worker(tmp_path, "a") as a, Worker(tmp_path, "b") as b:
        first = Claims(tmp_path, a).take("s/t-1")
        assert first is not None
        assert first.holds
        others = Claims(tmp_path, b)
        assert others.held("s/t-1")
        assert others.take("s/t-1") is None
        (tmp_path / "workers" / "a.json").unlink()  # as whoever saw it die does
        second = others.take("s/t-1")
        assert second is not None
        assert (second.number, first.holds, second.holds) == (2, False, True)
        first.home.mkdir()
        first.end()  # a loser removes its own alone
        assert second.holds
        second.end()
        assert not second.holds
    assert not list((tmp_path / "claims").iterdir())
    assert not list((tmp_path / "workers").iterdir())


def test_a_worker_elsewhere_is_dead_when_nothing_new_is_heard_of_it(tmp_path: Path) -> None:
    said = {"beat": 1, "host": "far", "pid": 1, "place": "another boot", "began": "0"}
    (tmp_path / "workers").mkdir()
    file = tmp_path / "workers" / "far.json"
    file.write_text(json.dumps(said))
    os.utime(file, (0, 0))  # whatever the clocks say
    watch = Watch(tmp_path, stale=0.3)
    assert watch.alive("far")
    time.sleep(0.2)
    file.write_text(json.dumps(said | {"beat": 2}))
    assert watch.alive("far")
    time.sleep(0.2)
    assert watch.alive("far")
    time.sleep(0.2)
    assert not watch.alive("far")
    assert Watch(tmp_path, stale=0.3).alive("far")  # another has only begun to look


def test_a_process_that_is_gone_from_this_machine_is_dead_at_once(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from sparks.claims import Worker;"
        "Worker(Path(sys.argv[1]), 'w').__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert list(workers(tmp_path)) == ["w"]
    assert not Watch(tmp_path).alive("w")


def test_a_claim_that_was_never_finished_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "claims" / "p").mkdir(parents=True)
    (tmp_path / "claims" / "p" / "1.json").write_text('{"tok')
    with Worker(tmp_path) as worker:
        claims = Claims(tmp_path, worker, stale=0.2)
        assert claims.take("p") is None
        time.sleep(0.3)
        claim = claims.take("p")
        assert claim is not None
        assert claim.number == 2


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        (tmp_path / "claims").write_text("no folder")
        with pytest.raises(SparksError, match=r"cannot write .*claims/p/1.json: Not a directory"):
            Claims(tmp_path, worker).take("p")
    with pytest.raises(SparksError, match=r"cannot write .*workers: No such file"):
        Worker(tmp_path / "gone").__enter__()


@pytest.fixture(scope="module")
def executors() -> Iterator[dict[str, Any]]:
    """All that there are, two workers each."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("submitit")
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
    yield {"here": Here(), "processes": Processes(2), "ray": Ray(2), "submitit": Submitit(2)}
    ray.shutdown()


@pytest.mark.parametrize("name", ["here", "processes", "ray", "submitit"])
def test_executors_keep_their_promises(
    tmp_path: Path, executors: dict[str, Any], name: str
) -> None:
    check_executor(executors[name], tmp_path)


@pytest.mark.parametrize(
    ("name", "how", "told"),
    [
        ("processes", signal.SIGKILL, "a worker process was ended (signal 9); another goes on, "),
        ("ray", signal.SIGKILL, "; another goes on: The actor died"),
        ("submitit", signal.SIGUSR2, ""),
    ],
)
def test_another_goes_on_where_a_worker_was_ended(
    tmp_path: Path,
    executors: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    name: str,
    how: signal.Signals,
    told: str,
) -> None:
    outputs = {piece: tmp_path / f"{piece}.txt" for piece in ("a", "b", "c")}
    do = functools.partial(end_once, tmp_path, how)
    executors[name].run(Pieces.writing(tmp_path, outputs, do))
    assert {path.read_text() for path in outputs.values()} == {"done"}
    assert told in caplog.text
    assert not list(tmp_path.glob("claims/*"))
    assert not list(tmp_path.glob("workers/*"))


@pytest.fixture
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture(scope="module")
def serial(workplace: Path) -> list[dict[str, Any]]:
    """The four cells, one after the other in one process."""
    with contextlib.chdir(workplace):
        work_on(planned(workplace / "serial"), code=CODE[1:])
        return rows(workplace / "serial")


def test_two_workers_of_which_one_is_killed(at_work: Path, serial: list[dict[str, Any]]) -> None:
    folder = planned(at_work / "killed")
    both = [start(folder) for _ in range(2)]
    _until(lambda: list(folder.glob("claims/*/*/1/history.jsonl")), both[0])
    time.sleep(random.uniform(0, 0.5))
    both[0].kill()
    errors = [process.communicate()[1] for process in both]
    assert both[1].returncode == 0, errors
    _same(rows(folder), serial)
    assert len(list(folder.glob("cells/*/*/row.json"))) == 4
    assert not list(folder.glob("claims/*"))
    assert not list(folder.glob("workers/*"))


def test_a_worker_that_lost_its_claim_publishes_nothing(
    at_work: Path, serial: list[dict[str, Any]]
) -> None:
    folder = planned(at_work / "slow")
    slow = start(folder, "--stale", "2")
    _until(lambda: list(folder.glob("claims/*/*/1/history.jsonl")), slow)
    slow.send_signal(signal.SIGSTOP)
    (held,) = folder.glob("claims/*/*/1")
    text = work_on(folder, code=CODE[1:], stale=2)
    assert text == "4 of 4 edits are finished."
    published = {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/*/*")}
    slow.send_signal(signal.SIGCONT)
    _, errors = slow.communicate(timeout=60)
    assert slow.returncode == 0, errors
    assert {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/*/*")} == published
    assert not held.exists()
    _same(rows(folder), serial)


def _same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for rounding: processes may have other numbers of threads."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            near = pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
            assert other[name] == near, name


def _until(there: Any, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 60
    while not there():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
