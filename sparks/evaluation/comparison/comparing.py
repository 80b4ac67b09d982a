"""`sparks compare`: videos laid side by side, measured, judged, tested and shown; restartable.

videos/, comparison.json    what is compared, in one form
metrics/SCENARIO/METHOD.json
judge/, judge.csv, judge.json
cells.csv                   a row for each scenario and method: `sparks stats` takes it
table.md, index.html        everything, with the videos
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.evaluation.comparison.laying import lay, slug
from sparks.evaluation.comparison.layout import Judge, Layout, read_layout
from sparks.evaluation.judge.backends import backend
from sparks.evaluation.judge.judging import Judging, Result, judge
from sparks.evaluation.judge.request import read_template
from sparks.evaluation.judge.rubric import Rubric, rubric
from sparks.evaluation.judge.truth import has_truth, truth
from sparks.evaluation.metrics.measuring import Choice, Measured, choose, measure
from sparks.evaluation.metrics.pairs import read_pair
from sparks.evaluation.scenarios import FILE, Comparison, Scenario
from sparks.evaluation.statistics.tables import csv_text
from sparks.files import write_text
from sparks.locks import LOCKS, locked
from sparks.runs.watch import read_json
from sparks.search.executors import Executor, Here, Pieces
from sparks.search.metrics import Edited

Key = tuple[str, str]  # scenario, method


@dataclass
class Compared:
    """Everything that is known of a comparison."""

    comparison: Comparison
    measured: dict[Key, Measured] = field(default_factory=dict)
    known: dict[Key, dict[str, float]] = field(default_factory=dict)  # the truth, on pocket
    judged: Result | None = None
    rubric: Rubric | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One for each scenario and method: figures, the judge's points, and the truth."""
        points = {(e.scenario, e.method): e for e in self.judged.judged} if self.judged else {}
        rows = []
        for scenario in self.comparison.scenarios:
            for method in scenario.edits:
                key = scenario.name, method
                row: dict[str, Any] = {"scenario": scenario.name, "method": method}
                if key in points:
                    row |= points[key].row()
                if method in scenario.p_yes:
                    row["p_yes"] = scenario.p_yes[method]
                row |= self.measured.get(key, Measured()).figures
                row |= {f"true_{name}": value for name, value in self.known.get(key, {}).items()}
                rows.append(row)
        return rows


def compare(path: Path, folder: Path, executor: Executor | None = None) -> str:
    """Do what the layout at `path` says, into `folder`; the Markdown.

    What an earlier, interrupted call has finished is not done again, unless its videos are others.

    Args:
        path: of a YAML file.
        folder: new, or of this comparison.
        executor: where edits are measured, by default in this process.

    Raises:
        SparksError: a layout that cannot be, videos or a judge that are not there, or a folder that
            holds other things.
    """
    return compare_layout(read_layout(path), folder, executor)


def compare_layout(layout: Layout, folder: Path, executor: Executor | None = None) -> str:
    """As `compare`, of a layout that is at hand."""
    how = _how(layout.judge) if layout.judge is not None else None
    choice = choose(layout.metrics)
    _check_folder(folder)
    with locked(folder) as free:
        if not free:
            raise SparksError(f"{folder} is in use by another process; wait for it, or stop it")
        return _compare(layout, choice, how, folder, executor)


def _compare(
    layout: Layout, choice: Choice, how: Judging | None, folder: Path, executor: Executor | None
) -> str:
    from sparks.evaluation.comparison.page import as_markdown, as_page

    comparison = lay(layout, folder)
    if not comparison.scenarios:
        raise SparksError("no scenario of the layout has a source; nothing can be compared")
    comparison.save(folder)
    outcome = Compared(comparison)
    _measure(outcome, layout, choice, folder, executor or Here())
    if layout.judge is not None and how is not None:
        options = layout.judge
        who = backend(options.backend, options.model, options.base_url)
        outcome.judged, outcome.rubric = judge(comparison, how, who, folder), how.rubric
    write_text(folder / "cells.csv", csv_text(outcome.rows()))
    text = as_markdown(outcome)
    write_text(folder / "table.md", text)
    write_text(folder / "index.html", as_page(outcome, folder))
    return text


def _how(options: Judge) -> Judging:
    return Judging(
        rubric(options.rubric),
        read_template(options.instructions),
        options.orders,
        options.repeats,
        options.num_frames,
        options.seed,
    )


def _check_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    begun = (folder / FILE).exists() or (folder / "videos").is_dir()
    if not begun and {path.name for path in folder.iterdir()}.difference(LOCKS):
        raise SparksError(f"output {folder} holds no comparison; choose a new folder")


def _measure(
    outcome: Compared, layout: Layout, choice: Choice, folder: Path, executor: Executor
) -> None:
    scenarios = outcome.comparison.scenarios
    edits = {
        f"metrics/{slug(scenario.name)}/{slug(method)}": (scenario, method)
        for scenario in scenarios
        for method in scenario.edits
    }
    files = {piece: folder / f"{piece}.json" for piece in edits}
    before = {piece: _before(file, *edits[piece], layout) for piece, file in files.items()}
    todo = {piece: files[piece] for piece in edits if choice.left(before[piece]).metrics}
    if todo:
        print(f"measuring {len(todo)} of {len(edits)} edits", file=sys.stderr, flush=True)
        do = functools.partial(_measure_one, files, edits, layout)
        executor.run(Pieces.writing(folder, todo, do))
    for piece, (scenario, method) in edits.items():
        record, key = read_json(files[piece]), (scenario.name, method)
        outcome.measured[key] = Measured.of(record.get("measured"))
        if isinstance(known := record.get("truth"), dict):
            outcome.known[key] = known


def _before(file: Path, scenario: Scenario, method: str, layout: Layout) -> Measured:
    """What an earlier call measured of the same videos."""
    record = read_json(file)
    same = record.get("stamp") == _stamp(scenario, method, layout)
    return Measured.of(record.get("measured")) if same else Measured()


def _measure_one(
    files: Mapping[str, Path], edits: Mapping[str, tuple[Scenario, str]], layout: Layout, piece: str
) -> None:
    (scenario, method), file = edits[piece], files[piece].absolute()
    before = _before(file, scenario, method, layout)
    left = choose(layout.metrics).left(before)
    now = before.joined(measure(_pair(scenario, method, layout), left))
    facts = truth(scenario, method) if has_truth(scenario) else None
    record = {"stamp": _stamp(scenario, method, layout), "measured": now.as_json(), "truth": facts}
    write_text(file, json.dumps(record, indent=1) + "\n")


def _pair(scenario: Scenario, method: str, layout: Layout) -> Edited:
    pair, _ = read_pair(
        scenario.edits[method],
        scenario.source,
        prompt=scenario.prompt,
        static_prompt=scenario.static_prompt,
        kept=scenario.kept,
        model=layout.model,
        using=layout.using,
    )
    return pair


def _stamp(scenario: Scenario, method: str, layout: Layout) -> list[Any]:
    """Whatever decides a figure: the videos as they were brought, and what is used for them."""
    videos = [scenario.source, scenario.edits[method]]
    return [
        *(read_json(video.with_suffix(".json")).get("stamp") for video in videos),
        *(layout.using, layout.model),
        *(scenario.prompt, scenario.static_prompt, scenario.kept),
    ]
