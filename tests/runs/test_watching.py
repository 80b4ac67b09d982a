"""What is seen of a search while it runs, and of a run at any time."""

import io
import json
import math
import os
import re
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from sparks.errors import SparksError
from sparks.media.clip import Clip, read_clip
from sparks.runs.previews import Previews
from sparks.runs.report import report
from sparks.runs.resolve import check_settings
from sparks.runs.trackers import trackers
from sparks.runs.watch import chart, over, view, watch
from sparks.search.driver import solve
from sparks.search.evaluation import Evaluation
from sparks.search.history import to_row
from sparks.solvers.adam import Adam
from tests import toy
from tests.workplace import CRITIC, Sparks

SOURCE = Clip(
    torch.zeros(toy.FRAMES, 3, toy.SIDE, toy.SIDE), Fraction(25, 2), torch.zeros(1, 11520)
)


def brightness(frames: torch.Tensor) -> list[float]:
    """Of each frame; what survives the colour subsampling of 4 x 4 pixels."""
    return frames.mean((1, 2, 3)).tolist()


def test_previews_show_the_best_so_far_outside_the_budget(tmp_path: Path) -> None:
    problem = toy.problem("renders=9")
    previews = Previews(tmp_path, 4, problem, SOURCE)
    frames: dict[int, torch.Tensor] = {}

    def keep(evaluation: Evaluation, best: Evaluation) -> None:
        assert best.frames is not None
        frames[best.index] = best.frames

    solve(problem, Adam(lr=0.1), listeners=(keep, previews))
    written = sorted(tmp_path.glob("previews/*.mp4"))
    assert [path.name for path in written] == ["0004.mp4", "0008.mp4"]
    for path in written:
        shown = read_clip(path).frames
        assert brightness(shown) == pytest.approx(brightness(frames[int(path.stem) - 1]), abs=0.02)
    assert problem.meter.renders == 9
    assert len(problem.editor.renders) == 9 + 1  # and the baseline


def test_the_clock_stands_still_for_a_preview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = toy.problem("renders=3")
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def late(*_: Any, **__: Any) -> None:
        now[0] += 100

    monkeypatch.setattr("sparks.runs.previews.write_clip", late)
    solve(problem, Adam(lr=0.1), listeners=(Previews(tmp_path, 1, problem, SOURCE),))
    assert now[0] == 300
    assert problem.meter.wall_clock == 0


def test_a_preview_is_rendered_again_if_an_earlier_process_scored_it(tmp_path: Path) -> None:
    problem = toy.problem()
    (evaluation,) = problem.evaluate(torch.full((problem.dim,), 0.1), frames=True)
    assert evaluation.frames is not None
    recalled = replace(evaluation, frames=None)
    Previews(tmp_path, 1, problem, SOURCE)(recalled, recalled)
    shown = read_clip(tmp_path / "previews" / "0001.mp4").frames
    assert brightness(shown) == pytest.approx(brightness(evaluation.frames), abs=0.02)
    assert problem.meter.renders == 1


def begun(folder: Path, count: int = 5) -> Path:
    """The directory of a run that is not over."""
    rows: list[str] = []

    def note(evaluation: Evaluation, best: Evaluation) -> None:
        rows.append(json.dumps(to_row(evaluation, evaluation is best)) + "\n")

    solve(toy.problem(f"renders={count}"), Adam(lr=0.1), listeners=(note,))
    folder.mkdir()
    (folder / "history.jsonl").write_text("".join(rows))
    (folder / "config.yaml").write_text("prompt: <b>it</b> & glows\nseed: 3\n")
    (folder / "run.json").write_text(
        json.dumps({"prompt": "<b>it</b> & glows", "cost": {"device": "cpu"}})
    )
    return folder


def shown(run: Path) -> str:
    console = Console(width=80, record=True, quiet=False, file=io.StringIO())
    console.print(view(run))
    return console.export_text()


FINISHED: dict[str, Any] = {
    **{"run_dir": "run", "solver": "adam", "space": "full", "seed": 1, "skipped": 0},
    **{"p_yes_baseline": 0.1, "p_yes_best": 0.9, "p_yes_edited": 0.9},
    **{"p_yes_judge_baseline": None, "p_yes_judge_edited": None},
    **{"losses": {"vlm": 0.1}, "spent": {"renders": 5}, "stopped_by": "solver"},
}


def test_a_search_is_watched_from_its_directory(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    text = shown(run)
    assert "<b>it</b> & glows" in text
    assert "5 evaluations, 5 critic calls" in text
    assert "the last one" in text
    assert re.search(r"start +now +best \(5\)", text)
    assert "█" in text
    with (run / "history.jsonl").open("a") as file:
        file.write('{"index": 5, "tor')  # being written
    assert "5 evaluations" in shown(run)
    (run / "result.json").write_text(json.dumps(FINISHED))
    assert over(run)  # in whatever order files were copied
    os.utime(run / "result.json", (0, 0))
    assert over(run)
    assert "finished" in shown(run)
    (run / "history.jsonl").write_text("")
    assert "no evaluation is finished yet" in shown(run)
    with pytest.raises(SparksError, match="no run at"):
        view(tmp_path)


def test_watching_ends_with_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path / "run")
    monkeypatch.setattr(Console, "is_terminal", True)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            (run / "result.json").write_text(json.dumps(FINISHED))

    monkeypatch.setattr("sparks.runs.watch.time.sleep", sleep)
    watch(run)
    assert len(slept) == 3


def test_charts_have_a_column_for_each_value() -> None:
    assert chart([0, 1, 2, 3], 10, 1) == "▁▃▆█"
    assert chart([0, 1], 10, 2) == " █\n▁█"
    assert chart([0, math.nan, 1], 10, 1) == "▁ █"
    assert chart([2, 2], 10, 1) == "▁▁"
    assert chart([math.nan], 10, 1) == " "
    many = chart(list(range(1000)), 60, 1)
    assert len(many) == 60
    assert many == "".join(sorted(many))
    assert many.endswith("█")


@pytest.mark.parametrize("row", ['{"index": 1}', "3", "[" * 300_000])
def test_a_history_that_is_none_is_told(tmp_path: Path, row: str) -> None:
    run = begun(tmp_path / "run")
    first, _, *others = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join([first, row, *others]) + "\n")
    for use in (view, report):
        with pytest.raises(SparksError, match=r"row 2 of .*history\.jsonl cannot be read"):
            use(run)


def test_a_report_is_made_of_an_unfinished_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    (run / "previews").mkdir()
    (run / "previews" / "0004.mp4").touch()
    page = report(run).read_text()
    assert "&lt;b&gt;it&lt;/b&gt; &amp; glows" in page
    assert "<b>it</b>" not in page
    assert "Not finished: 5 evaluations" in page
    assert 'src="previews/0004.mp4"' in page
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert page.count("<tr>") >= 6
    assert not re.search(r"https?://", page)
    with pytest.raises(SparksError, match="no run at"):
        report(tmp_path)


def test_commands_show_a_run_and_its_transfer(
    sparks: Sparks, workplace: Path, tmp_path: Path
) -> None:
    asked = ("--prompt", "a blue ball grows", *CRITIC, "--output", "run")
    code, _, err = sparks(
        *("solve", "own.mp4", *asked, "--config", "settings.yaml", "--preview-every", "1"),
    )
    assert code == 0, err
    previews = sorted(path.name for path in (workplace / "run" / "previews").iterdir())
    assert previews[0] == "0001.mp4"
    code, out, _ = sparks("watch", "run")
    assert code == 0
    assert "2 evaluations, 2 critic calls" in out
    assert "finished" in out
    code, out, _ = sparks("report", "run")
    assert code == 0
    assert "run/index.html" in out
    page = (workplace / "run" / "index.html").read_text()
    assert "The critic says" in page
    assert page.index("source.mp4") < page.index("baseline.mp4") < page.index("edited.mp4")
    links = set(re.findall(r'src="([^"]+)"', page))
    assert links == {
        *("source.mp4", "baseline.mp4", "edited.mp4", "contact_sheet.png", "curve.png"),
    }
    assert all((workplace / "run" / link).is_file() for link in links)
    code, _, err = sparks("transfer", "run", "--video", "own.mp4", *asked[:-1], "moved")
    assert code == 0, err
    assert sparks("report", "moved")[0] == 0
    page = (workplace / "moved" / "index.html").read_text()
    assert "gap.png" in page
    assert "with them" in page
    for command in ("watch", "report"):
        code, _, err = sparks(command, "nowhere")
        assert code == 2
        assert "no run at nowhere" in err


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_missing_package_is_told_before_anything_is_loaded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SparksError, match=f"listener {name} needs a package: pip install {name}"):
        check_settings({"listeners": [name]})


def test_an_unknown_listener_is_told() -> None:
    with pytest.raises(SparksError, match="listener 'tensorbord' is unknown; choose from tensorb"):
        check_settings({"listeners": ["tensorbord"]})


def follow(name: str, folder: Path) -> None:
    config = check_settings({"listeners": [name], "prompt": "it glows"})
    (tracker,) = trackers(config.listeners, folder, config)
    solve(toy.problem("renders=3"), Adam(lr=0.1), listeners=(tracker,))
    tracker.close()


def test_tensorboard_gets_every_number(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    follow("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = events.Tags()["scalars"]
    assert {"total", "p_yes", "best/total", "losses/vlm", "cost/renders"} <= set(scalars)
    assert [event.step for event in events.Scalars("total")] == [0, 1, 2]


def test_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    follow("wandb", tmp_path)
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert written.stat().st_size > 1000


def test_trackio_keeps_a_local_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    follow("trackio", tmp_path)
    assert list((tmp_path / "trackio").glob("*.db"))
