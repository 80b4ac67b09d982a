"""Transfers of finished edits, and the videos of edits judged again."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import rejudge  # noqa: E402
import transfer  # noqa: E402

from sparks.experiments.bench import plan_bench, run_experiment  # noqa: E402
from sparks.experiments.cells import finished, load_plan  # noqa: E402
from sparks.experiments.tasks import task_list  # noqa: E402
from sparks.search.executors import Here  # noqa: E402


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips that are asked to jump, and one that is asked to slide."""
    folder = tmp_path_factory.mktemp("transfer") / "bench"
    base = {"sampling": {"num_inference_steps": 2, "grad_steps": 1}, "budget": "qwen_calls=2"}
    base |= {"solver": {"name": "random"}, "seed": 3001}
    tasks = task_list("dev40")
    run_experiment(folder, plan_bench(base, [tasks[0], tasks[1], tasks[10]]))
    return folder


def test_controls_go_to_the_clips_asked_to_do_the_same(bench: Path, tmp_path: Path) -> None:
    half = tmp_path / "pairs" / "00-jump-on-10-jump-3001"
    half.mkdir(parents=True)
    (half / "edited.mp4").write_text("killed half way")
    transfer.make(bench, "random", tmp_path, Here())
    rows = transfer.rows_of(tmp_path)
    assert [(row["donor"], row["task"]) for row in rows] == [
        ("00-jump", "10-jump"),
        ("10-jump", "00-jump"),
    ]
    own = {row["task"]: row for row in finished(bench, load_plan(bench))}
    for row in rows:
        assert row["happened_tuned"] == own[row["task"]]["happened_edited"]
        assert (tmp_path / row["folder"] / "edited.mp4").is_file()
    text = transfer.report(tmp_path)
    assert "2 transfers, of 1 noise seeds." in text
    assert "| jump | 2 |" in text
    before = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("pairs/*/row.json"))]
    transfer.make(bench, "random", tmp_path, Here())
    assert before == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("pairs/*/row.json"))]


def test_the_judge_is_asked_again_of_decoded_videos_once(bench: Path) -> None:
    rows = finished(bench, load_plan(bench))
    again = rejudge.judged_again(bench, rows, Here())
    assert [row["task"] for row in again] == [row["task"] for row in rows]
    for now, then in zip(again, rows, strict=True):
        assert now["p_yes_judge_edited"] == pytest.approx(then["p_yes_judge_edited"], abs=0.1)
        assert now["judge_agrees"] == (now["p_yes_judge_edited"] > 0.5)
        assert now["judge_right"] == (now["judge_agrees"] == now["happened_edited"])
    files = sorted(bench.glob("cells/*/*/judged.json"))
    stamps = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 3
    (bench / rows[0]["folder"] / "edited.mp4").rename(bench / "away.mp4")
    assert rejudge.judged_again(bench, rows, Here()) == again[1:]
    assert [file.stat().st_mtime_ns for file in files] == stamps
