"""A run directory: when it begins, who may go on with it, and what it says."""

import contextlib
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sparks.errors import SparksError
from sparks.locks import locked
from sparks.runs.facts import read_facts
from sparks.runs.folder import Run, discard, draw_curve, is_run, new_folder
from sparks.runs.report import report
from sparks.runs.result import Result
from sparks.search.history import column

FACTS: dict[str, Any] = {
    "prompt": "it jumps",
    "source": {"name": "a.mp4", "sha256": "ab"},
    "clip": {"frames": 9, "size": [16, 16], "fps": "25/2"},
    "kept": {"prefix_frames": 5},
    "seeds": {"noise": 1, "search": 1, "windows": 1},
    "settings": {"space": "aa", "solver": "bb"},
}
CONFIG = "prompt: it jumps\ncritic: {name: 'mine.py:Critic'}\nsolver: {name: adam}\n"


def result(folder: Path, stopped_by: str = "renders") -> Result:
    p_yes = dict.fromkeys(("p_yes_baseline", "p_yes_best", "p_yes_edited"), 0.5)
    judged = {"p_yes_judge_baseline": None, "p_yes_judge_edited": None}
    known = {"solver": "adam", "space": "full", "seed": 1, "losses": {"vlm": 1.0}}
    end = {"spent": {"renders": 2}, "skipped": 0, "stopped_by": stopped_by}
    return Result(str(folder), **p_yes, **judged, **known, **end)  # type: ignore[arg-type]


def row(index: int, total: float | None = 1.0, p_yes: float | None = 0.5) -> dict[str, Any]:
    known = {"seed": 1, "z_sha256": "0" * 64, "losses": {"vlm": total}}
    known |= {"total": total, "p_yes": p_yes, "cost": {}}
    return {"index": index, **known, "best": index == 0}


def begun(folder: Path, **facts: Any) -> Run:
    run = Run(folder)
    run.begin(CONFIG, FACTS | facts, "cpu")
    return run


def done(folder: Path, stopped_by: str = "renders") -> Path:
    run = begun(folder)
    assert run.journal is not None
    run.journal.record([row(0), row(1)])
    run.finish(result(folder, stopped_by), pictures=False)
    run.close()
    return folder


def test_nothing_is_written_before_a_run_begins(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run.begin(CONFIG, FACTS, "cpu")
    run.close()
    assert {path.name for path in run.folder.iterdir()} == {
        *("config.yaml", "run.json", "history.jsonl"),
    }
    assert (run.folder / "config.yaml").read_text() == CONFIG
    written = json.loads((run.folder / "run.json").read_text())
    cost = written.pop("cost")
    assert written == FACTS
    assert (cost["device"], cost["folder"]) == ("cpu", str(Path.cwd()))
    assert (is_run(run.folder), run.recorded, run.result) == (True, 0, None)
    assert run.home == Path.cwd()
    assert run.code == " --set critic.name=mine.py:Critic"


def test_a_second_start_in_the_same_folder_changes_nothing(tmp_path: Path) -> None:
    first, second = Run(tmp_path / "run"), Run(tmp_path / "run")
    first.begin(CONFIG, FACTS, "cpu")
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    with pytest.raises(SparksError, match="is in use by another process"):
        second.begin("prompt: another\n", FACTS | {"prompt": "another"}, "cpu")
    first.close()
    with pytest.raises(SparksError, match="another run has begun in"):
        second.begin("prompt: another\n", FACTS | {"prompt": "another"}, "cpu")
    with pytest.raises(SparksError, match=r"is not empty; .*or go on with --resume"):
        Run(tmp_path / "run")
    assert {path: path.read_bytes() for path in before if path.name != ".lock"} == {
        path: data for path, data in before.items() if path.name != ".lock"
    }


def test_what_was_half_begun_is_begun_again_and_what_is_foreign_is_not(tmp_path: Path) -> None:
    for name in ("run.json", ".lock", ".config-abcdefgh.yaml"):
        (tmp_path / name).write_text("{")
    (tmp_path / "history.jsonl").touch()
    begun(tmp_path).close()
    assert json.loads((tmp_path / "run.json").read_text())["prompt"] == "it jumps"
    other = tmp_path / "other"
    other.mkdir()
    (other / "history.jsonl").write_text("mine\n")
    with pytest.raises(SparksError, match=r"other is not empty; choose a new folder or empty it$"):
        Run(other)


def test_a_name_that_no_folder_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match=r"cannot write output .*File name too long; choose"):
        Run(tmp_path / ("x" * 300))


def test_a_default_folder_is_named_after_time_and_prompt_and_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(name="A red ball JUMPS, high!")
    assert not Path("runs").exists()
    folder = run.claim()
    assert re.fullmatch(r"runs/\d{8}-\d{6}-a-red-ball-jumps-high", folder.as_posix())
    assert run.claim() == folder
    assert folder.is_dir()
    assert Run(name="...").claim().name.endswith("-edit")
    made = [new_folder("x") for _ in range(3)]
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"\d{8}-\d{6}-x(-\d)?", path.name) for path in made)


def test_a_finished_run_is_told_of_wherever_it_lies(tmp_path: Path) -> None:
    folder = done(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def tell() -> None:
        run = Run(folder, begun=True)
        assert run.result == result(folder)
        assert run.journal is None
        run.close()

    with locked(folder):  # as another process has it
        tell()
    folder.chmod(0o500)
    try:
        tell()
    finally:
        folder.chmod(0o700)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_run_that_was_stopped_is_held_and_cleared_of_what_was_being_written(
    tmp_path: Path,
) -> None:
    folder = done(tmp_path / "run", "interrupt")
    (folder / ".best-abcdefgh.safetensors").touch()
    (folder / ".mine-abcdefgh.safetensors").touch()
    run = Run(folder, begun=True)
    assert run.result is not None
    assert not run.result.finished
    assert run.recorded == 2
    assert not (folder / ".best-abcdefgh.safetensors").exists()
    assert (folder / ".mine-abcdefgh.safetensors").exists()
    with pytest.raises(SparksError, match="is in use by another process"):
        Run(folder, begun=True)
    run.close()


@pytest.mark.parametrize(
    ("key", "now", "message"),
    [
        ("prompt", "it spins", "prompt of run .* was it jumps, now it is it spins; bring it back"),
        ("source", {"name": "a.mp4", "sha256": "cd"}, "source of run .*'ab'.*'cd'"),
        ("seeds", {"noise": 2, "search": 1, "windows": 1}, "seeds of run"),
        ("settings", {"space": "xx", "solver": "bb"}, "space in .*config.yaml changed since"),
    ],
)
def test_another_edit_than_was_begun_is_refused(
    tmp_path: Path, key: str, now: Any, message: str
) -> None:
    run = begun(tmp_path / "run")
    run.check(FACTS, "cpu")
    with pytest.raises(SparksError, match=message):
        run.check(FACTS | {key: now}, "cpu")
    run.close()


def test_settings_are_compared_with_defaults_too(tmp_path: Path) -> None:
    begun(tmp_path / "run").close()
    with contextlib.closing(Run(tmp_path / "run", begun=True)) as run:
        for settings in ({"space": "aa"}, FACTS["settings"] | {"objective": "cc"}):
            with pytest.raises(
                SparksError, match=r"(solver|objective) in .* changed since the run"
            ):
                run.check(FACTS | {"settings": settings}, "cpu")
        run.check(FACTS, "cpu")


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([], "it"),
        ({"cost": []}, "cost"),
        ({"cost": {"folder": 3}}, r"cost\.folder"),
        ({"cost": {"versions": None}}, r"cost\.versions"),
        ({"cost": {"versions": {"torch": ["x"]}}}, r"cost\.versions\.torch"),
        ({"settings": ["solver"]}, "settings"),
        ({"seeds": {"noise": "1"}}, r"seeds\.noise"),
        ({"levers": 5}, "levers"),
        ({"fingerprint": None}, "fingerprint"),
    ],
)
def test_facts_of_other_types_are_one_line(tmp_path: Path, facts: Any, told: str) -> None:
    begun(tmp_path / "run").close()
    content = FACTS | facts if isinstance(facts, dict) else facts
    (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    with pytest.raises(SparksError, match=rf"run\.json cannot be read: {told}: "):
        read_facts(tmp_path / "run" / "run.json")
    with pytest.raises(SparksError, match=r"run\.json cannot be read"):
        report(tmp_path / "run")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"stopped_by": 3}',
        '{"p_yes_judge_edited": "x"}',
        '{"p_yes_transfer": "x"}',
        '{"p_yes_transfer": 0.5, "p_yes_judge_baseline": []}',
    ],
)
def test_results_of_other_types_are_one_line(tmp_path: Path, content: str) -> None:
    folder = done(tmp_path / "run")
    (folder / "result.json").write_text(content)
    with pytest.raises(SparksError, match=r"result\.json"):
        _ = Run(folder, begun=True).result
    if content != "[]":  # as good as none
        with pytest.raises(SparksError, match=r"result\.json"):
            report(folder)


def test_a_report_shows_settings_in_another_encoding(tmp_path: Path) -> None:
    folder = done(tmp_path / "run")
    (folder / "config.yaml").write_bytes(b"prompt: gr\xf6ws\n")
    assert "prompt: gr\ufffdws" in report(folder).read_text(encoding="utf-8")


def test_another_device_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = begun(tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        run.check(FACTS, "cuda")
    run.close()
    (message,) = caplog.messages
    assert "device of run" in message
    assert "cpu before, cuda now" in message


def test_discarding_leaves_what_is_not_the_runs(tmp_path: Path) -> None:
    discard(done(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    folder = done(tmp_path / "run")
    (folder / ".lock").touch()
    (folder / "notes.txt").touch()
    discard(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_numbers_that_are_none_are_gaps_in_a_column_and_its_curve(tmp_path: Path) -> None:
    rows = [row(0, 3.0, 0.1), row(1, None, None), row(2, 1.0, 0.9)]
    first, gap, last = column(rows, "total")
    assert (first, math.isnan(gap), last) == (3.0, True, 1.0)
    draw_curve(tmp_path / "curve.png", rows)
    draw_curve(tmp_path / "empty.png", [])
    drawn, empty = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("curve", "empty"))
    assert drawn.shape == empty.shape == (480, 840, 4)
    assert (drawn != empty).any()
