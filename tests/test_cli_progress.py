"""What a person sees of a search, on a terminal and in a log."""

import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from sparks.errors import SparksError
from sparks.runs.progress import Lines, Panel, Silent, reporter, summary
from sparks.runs.result import Result
from sparks.search.evaluation import Evaluation
from tests import toy


def show(report: Silent) -> None:
    problem = toy.problem("qwen_calls=3")
    best: list[Evaluation] = []
    with report:
        report.stage("loading the editor")
        report.search(problem)
        for scale in (0.0, 0.1):
            (evaluation,) = problem.evaluate(torch.full((problem.dim,), scale))
            best = [min([*best, evaluation], key=lambda each: each.total)]
            report.evaluated(evaluation, best[0])
        report.stage("writing the videos")


@pytest.mark.parametrize("width", [56, 80, 200])
def test_panel_fits_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show(Panel())
    lines = capsys.readouterr().err.splitlines()
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= width
    for expected in ("✓ loading the editor", "evaluation 2/3", "P(yes)", "latent_alpha", "start"):
        assert expected in text
    assert "…" not in text or width < 80


def test_panel_marks_the_stage_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Panel() as panel:
            panel.stage("loading the editor")
            raise SparksError("no")

    with pytest.raises(SparksError):
        fail()
    assert "✗ loading the editor" in capsys.readouterr().err


def test_lines_say_the_same_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(reporter(), Lines)  # pytest is no terminal
    show(Lines())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 5
    assert "evaluation 2/3  total" in captured.err


def test_a_long_batch_shows_that_something_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparks.runs.progress._SILENCE", 0.1)
    problem = toy.problem("qwen_calls=3")
    with Lines() as lines:
        lines.search(problem)
        problem.evaluate(torch.zeros(problem.dim))
        time.sleep(1.5)
    assert "denoiser steps so far" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "says yes to the edit: P(yes) 0.910 (before tuning 0.020, best of the search 0.930)"),
        ({"p_yes_edited": 0.3}, "says no to the edit"),
        ({"p_yes_edited": None}, "says nothing to the edit: P(yes) no number"),
        ({}, "after 30 renders in 28 s: its budget of qwen_calls was spent"),
        ({"stopped_by": "patience"}, "nothing better came for a while"),
        ({"stopped_by": "interrupt"}, "it was interrupted"),
        ({}, "Written to somewhere:"),
        ({}, "edited.mp4"),
    ],
)
def test_summary_says_in_words_what_was_reached(changes: dict[str, Any], expected: str) -> None:
    result = Result(
        run_dir="somewhere",
        solver="adam",
        space="full",
        seed=1,
        p_yes_baseline=0.02,
        p_yes_best=0.93,
        p_yes_edited=0.91,
        p_yes_judge_baseline=None,
        p_yes_judge_edited=None,
        losses={"vlm": 0.1},
        spent={"renders": 30, "wall_clock": 28.1},
        skipped=0,
        stopped_by="qwen_calls",
    )
    assert expected in summary(replace(result, **changes))
