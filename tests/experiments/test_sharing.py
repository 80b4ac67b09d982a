"""What a worker takes next, where it may, what it may read, and what others see of it."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sparks.claims import Claims, Worker, forget
from sparks.errors import SparksError
from sparks.experiments.ablate import plan_ablation, settings_of
from sparks.experiments.bench import run_experiment, work_on
from sparks.experiments.cells import Cell, Plan, load_plan
from sparks.experiments.devices import Place
from sparks.experiments.progress import Progress
from sparks.experiments.results import write_results
from sparks.experiments.running import _take_up
from sparks.experiments.tasks import Task, task_list
from sparks.experiments.work import CellWork, _Cells
from sparks.media.clip import write_clip
from sparks.search.executors import Here
from tests.editors.conftest import make_clip
from tests.workplace import Sparks

TASKS = task_list("dev10")[:2]


def write(folder: Path, cell: Cell, /, **row: Any) -> None:
    """A cell as if it were finished."""
    cell.row(folder).parent.mkdir(parents=True)
    shown = {"p_yes_baseline": 0.1, "p_yes_edited": 0.8}
    cell.row(folder).write_text(json.dumps(cell.columns | shown | row))


def order(folder: Path, plan: Plan, last: Cell | None = None) -> list[str]:
    """The open cells as a worker goes through them, after it has run `last`."""
    plan.save(folder)
    with Worker(folder) as worker:
        cells = _Cells(folder, Claims(folder, worker))
        cells._read()
        if last is not None:
            cells._last = next(key for key, cell in cells._order() if cell.name == last.name)
        return [f"{cell.setting} {cell.task[:2]}" for _, cell in cells._order()]


def test_a_worker_stays_with_what_it_has_loaded_and_encoded(tmp_path: Path) -> None:
    critics = settings_of("critic", ["qwen", "clip"])
    plan = plan_ablation("critics", {}, critics, TASKS)
    assert order(tmp_path, plan) == ["qwen 00", "qwen 01", "clip 00", "clip 01"]
    last = plan.cells[3]
    assert (last.setting, last.task) == ("clip", TASKS[1].name)
    assert order(tmp_path, plan, last) == ["clip 01", "clip 00", "qwen 01", "qwen 00"]


def test_of_one_model_the_encoded_clip_comes_first_and_what_is_timed_before_all(
    tmp_path: Path,
) -> None:
    solvers = settings_of("solvers", ["adam", "random"])
    plan = plan_ablation("solvers", {}, solvers, TASKS)
    assert order(tmp_path, plan, plan.cells[2])[0] == "adam 01"
    assert order(tmp_path, plan, plan.cells[2])[1] == "random 01"
    (tmp_path / "timed").mkdir()
    mixed = plan.cells[:2] + [replace(cell, alone=True) for cell in plan.cells[2:]]
    timed = order(tmp_path / "timed", Plan("timed", TASKS, mixed))
    assert timed == ["adam 01", "random 01", "adam 00", "random 00"]


@pytest.mark.parametrize(
    ("budget", "timed"),
    [("wall_clock=5s", True), ("qwen_calls=3,wall_clock=5s", True), ("qwen_calls=3", False)],
)
def test_a_limit_in_seconds_is_timed(budget: str, timed: bool) -> None:
    assert Cell("a", "t", {"seed": 1, "budget": budget}).timed == timed


def test_a_matched_cell_is_free_when_its_own_reference_has_ended(tmp_path: Path) -> None:
    solvers = settings_of("solvers", ["adam", "random"])
    plan = plan_ablation("solvers", {}, solvers, TASKS, match={"renders": 1})
    plan.save(tmp_path)
    write(tmp_path, plan.cells[2])
    with Worker(tmp_path) as worker:
        cells = _Cells(tmp_path, Claims(tmp_path, worker))
        free = {cell.name for cell in plan.cells if cells._may_begin(cell)}
    assert free == {plan.cells[0].name, plan.cells[2].name, plan.cells[3].name}


def test_seconds_are_matched_on_like_devices_alone(tmp_path: Path) -> None:
    solvers = settings_of("solvers", ["adam", "random"])
    plan = plan_ablation("solvers", {}, solvers, TASKS[:1], match={"wall_clock": 1})
    plan.save(tmp_path)
    write(tmp_path, plan.cells[0], device="another card", wall_clock=3.0)
    with pytest.raises(SparksError, match="needs another card, on which its reference was"):
        work_on(tmp_path)
    assert not list(tmp_path.glob("cells/random*"))
    assert not list(tmp_path.glob("claims/*"))


def test_a_worker_leaves_to_others_what_needs_a_device_it_lacks(tmp_path: Path) -> None:
    overlays = {"here": {"budget": "renders=1"}, "there": {"device": "cuda:99"}}
    plan = plan_ablation("devices", {}, overlays, TASKS[:1])
    plan.save(tmp_path)
    write(tmp_path, plan.cells[0])
    with pytest.raises(SparksError, match="needs the device cuda:99; start a worker there for the"):
        work_on(tmp_path)
    assert not list(tmp_path.glob("cells/there*"))


def test_code_that_is_added_to_a_plan_is_not_run(tmp_path: Path) -> None:
    coded = Cell("a", TASKS[0].name, {"seed": 1, "critic": {"name": "evil.py:Critic"}})
    Plan("x", TASKS[:1], [coded]).save(tmp_path)
    with pytest.raises(SparksError, match=r"names the code evil.py:Critic"):
        Here().run(CellWork(tmp_path, tmp_path))


def test_a_place_is_shared_or_had_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    both, one = Place("x", "here", ("core-0", "core-1")), Place("x", "here", ("core-1",))
    with both.occupied(alone=False) as first, one.occupied(alone=False) as second:
        assert (first, second) == (True, True)
        with one.occupied(alone=True) as third:
            assert not third
    with one.occupied(alone=True) as first, both.occupied(alone=False) as second:
        assert (first, second) == (True, False)
    with both.occupied(alone=True) as first:
        assert first


def test_a_cell_over_which_workers_die_in_vain_has_failed(tmp_path: Path) -> None:
    plan = plan_ablation("one", {}, {"adam": {}}, TASKS[:1])
    plan.save(tmp_path)
    for _ in range(3):
        worker = Worker(tmp_path)
        with worker:
            assert Claims(tmp_path, worker).take(plan.cells[0].piece) is not None
        forget(tmp_path, worker.name)
    with pytest.raises(SparksError, match="its worker died 3 times at this point"):
        work_on(tmp_path)


@pytest.mark.parametrize("timed", [False, True])
def test_what_was_cut_short_is_taken_up_unless_it_is_timed(tmp_path: Path, timed: bool) -> None:
    cell = Cell("a", TASKS[0].name, {"seed": 1}, alone=timed)
    with Worker(tmp_path, "first") as worker:
        first = Claims(tmp_path, worker).take(cell.piece)
        assert first is not None
        first.home.mkdir()
        for name in ("config.yaml", "history.jsonl", ".lock", ".state-abcdefgh.safetensors"):
            (first.home / name).write_text("of the first")
        (first.home / "run.json").write_text('{"source": {}}')
    with Worker(tmp_path, "second") as worker:
        second = Claims(tmp_path, worker).take(cell.piece)
        assert second is not None
        assert not _take_up(tmp_path, cell, second)
    names = {path.name for path in second.home.iterdir()} if second.home.is_dir() else set()
    assert names == (set() if timed else {"config.yaml", "history.jsonl", "run.json"})
    assert (first.home / "history.jsonl").read_text() == "of the first"  # it may still be written


def test_others_see_what_is_done_what_runs_and_what_failed(
    tmp_path: Path, sparks: Sparks, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_ablation("many", {}, {"adam": {}}, TASKS, seeds=2)
    plan.save(tmp_path)
    done, failed, running, _ = plan.cells
    write(tmp_path, done, elapsed=30.0)
    failed.error(tmp_path).parent.mkdir(parents=True)
    failed.error(tmp_path).write_text("Traceback\n  of it\nValueError: out of luck\n")
    monkeypatch.setenv("COLUMNS", "200")
    with Worker(tmp_path) as worker, worker.at(running.name, device="a card", run="claims/x/1"):
        (tmp_path / "claims" / "x" / "1").mkdir(parents=True)
        (tmp_path / "claims" / "x" / "1" / "history.jsonl").write_text("{}\n{}\n")
        (seen,) = Progress(tmp_path).running()
        assert (seen.cell, seen.device, seen.evaluations) == (running.name, "a card", 2)
        code, out, err = sparks("watch", str(tmp_path))
    assert code == 0, err
    assert "1 of 4 done, 1 running, 1 failed; about 60 s left" in out
    assert running.name in out
    assert f"failed  {failed.name}: ValueError: out of luck" in out
    assert "nobody at work" in sparks("watch", str(tmp_path))[1]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        *((text, "cannot be read") for text in (b"", b"[" * 200_000, b"\xbb\x00")),
        *((text, "not this edit's") for text in (b"[]", b"{}")),
        ({"folder": "../elsewhere"}, "not this edit's"),
        ({"seed": None}, "not this edit's"),
        ({"p_yes_edited": "\x1b[2J"}, "p_yes_edited='.x1b.2J' cannot be"),
        ({"p_yes_edited": 7.0}, "p_yes_edited=7.0 cannot be"),
        ({"elapsed": math.nan}, "elapsed=nan cannot be"),
        ({"total": [1]}, r"total=\[1\] cannot be"),
        ({"solver": 3}, "solver=3 cannot be"),
        ({"\x1b[2J": "x"}, "cannot be"),
    ],
)
def test_a_row_that_no_cell_wrote_is_told_in_a_line(
    row: bytes | dict[str, Any], told: str, tmp_path: Path, sparks: Sparks
) -> None:
    plan = plan_ablation("many", {}, {"adam": {}}, TASKS)
    plan.save(tmp_path)
    write(tmp_path, plan.cells[0], **({} if isinstance(row, bytes) else row))
    if isinstance(row, bytes):
        plan.cells[0].row(tmp_path).write_bytes(row)
    with pytest.raises(SparksError, match=told) as refused:
        write_results(tmp_path)
    assert "row.json" in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 1000
    code, out, _ = sparks("watch", str(tmp_path))
    assert code == 0
    assert "1 failed" in out


def sources(folder: Path, name: str = "a") -> Mapping[str, Any]:
    text = (folder / "plan.json").read_text()
    return next(task for task in json.loads(text)["tasks"] if task["name"] == name)


def test_a_video_of_ones_own_is_kept_and_known_by_its_digest(tmp_path: Path) -> None:
    video, folder = tmp_path / "mine.mp4", tmp_path / "experiment"
    write_clip(video, make_clip(9))
    plan = plan_ablation("own", {}, {"adam": {}}, [Task("a", video, "it jumps", prefix_frames=1)])
    plan.save(folder)
    assert len(sources(folder)["sha256"]) == 64
    assert (folder / "sources" / "a.mp4").read_bytes() == video.read_bytes()
    moved = folder.rename(tmp_path / "moved")
    video.rename(tmp_path / "elsewhere.mp4")
    assert load_plan(moved).tasks[0].sha256 == sources(moved)["sha256"]
    write_clip(video, make_clip(13))
    other = plan_ablation("own", {}, {"adam": {}}, [Task("a", video, "it jumps", prefix_frames=1)])
    with pytest.raises(SparksError, match="is not the video that was planned"):
        other.save(moved)
    asked = plan_ablation("own", {}, {"cma": {}}, [Task("a", video, "it grows", prefix_frames=1)])
    with pytest.raises(SparksError, match="asks for something else"):
        asked.save(moved)
    (moved / "sources" / "a.mp4").write_bytes(video.read_bytes())
    with pytest.raises(SparksError, match="is not the video that was planned; bring that back"):
        run_experiment(moved)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--on", "proceses"], "no executors named 'proceses'; did you mean 'processes'?"),
        (["--on", "processes", "--with", "gpus=2"], "unknown setting 'with.gpus'"),
        (["--with", "gpus=2"], "--with gpus=2 is an option of an executor; say --on as well"),
        (["--on", "processes", "--with", "gpus"], "--with 'gpus' is no assignment"),
    ],
)
def test_mistakes_about_executors_are_one_line(
    sparks: Sparks, workplace: Path, more: list[str], message: str
) -> None:
    code, out, err = sparks("bench", "--output", "never", *more)
    assert (code, out) == (2, "")
    assert message in err
    assert not (workplace / "never").exists()


def test_work_needs_a_plan_and_the_names_of_code(sparks: Sparks, workplace: Path) -> None:
    assert "no plan.json in nowhere" in sparks("work", "nowhere")[2]
    settings = {"critic": {"name": "plugins.py:Redness"}}
    plan_ablation("coded", settings, {"adam": {}}, TASKS[:1]).save(workplace / "coded")
    code, _, err = sparks("work", "coded")
    assert code == 2
    assert "plan.json names the code plugins.py:Redness" in err
