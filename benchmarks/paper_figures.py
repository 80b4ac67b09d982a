"""The paper's figures S4 to S6 and its Table 1, on pocket, from the videos of finished experiments.

    python benchmarks/tables.py --output runs/tables
    python benchmarks/paper_figures.py s4 runs/tables/regularisation runs/s4
    python benchmarks/paper_figures.py s5 runs/tables/critic runs/s5
    python benchmarks/paper_figures.py s6 runs/tables/transfer runs/s6
    python benchmarks/paper_figures.py table_1 runs/tables/modality runs/table_1

Nothing is searched. Each is a comparison (see `sparks compare`) of the experiment's settings and
the prompt-only render under all of its noise seeds, with a contact sheet for every task under the
first. Points of the judge are printed with intervals over tasks and seeds, and as paired
differences; Table 1 beside the paper's. Of transfers, one is taken for each action and noise seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import evidence
from pydantic import TypeAdapter

from sparks.errors import SparksError
from sparks.evaluation.comparison.comparing import compare_layout
from sparks.evaluation.comparison.found import scenarios_of
from sparks.evaluation.comparison.layout import Given, Judge, Layout, Method
from sparks.evaluation.judge.judging import Result
from sparks.evaluation.judge.rubric import rubric
from sparks.evaluation.scenarios import Comparison, read_comparison
from sparks.evaluation.statistics.reading import read_table
from sparks.evaluation.statistics.tables import difference, estimate, markdown
from sparks.experiments.executors.processes import Processes
from sparks.files import write_text
from sparks.media.clip import contact_sheet, read_clip
from sparks.models.quiet import quiet_libraries
from sparks.runs.watch import read_json
from sparks.settings.yaml import read_settings

Row = dict[str, Any]
TITLES = {
    "s4": "Regularisation (Figure S4)",
    "s5": "Supervision (Figure S5)",
    "s6": "Transfer (Figure S6)",
    "table_1": "Modality (Table 1)",
}
OVERALL, PROMPT_ONLY = "overall", "prompt only"
AXES = {
    "alignment": "Alignment",
    "naturalness": "Naturalness",
    "preservation": "Preservation",
    OVERALL: "Overall",
}


def layout(which: str, folder: Path, metrics: str, backend: str, model: str | None) -> Layout:
    """Prompt only, then every setting of the experiment.

    Raises:
        SparksError: there is no such experiment.
    """
    judge = Judge(backend=backend, model=model, rubric=rubric_of(which))
    methods, scenarios = _transfers(folder) if which == "s6" else _settings(folder)
    return Layout(
        title=TITLES[which],
        methods=methods,
        scenarios=scenarios,
        metrics=metrics,
        model="pocket",
        judge=judge,
    )


def rubric_of(which: str) -> str:
    """Table 1 has six axes, the figures four."""
    return "modality" if which == "table_1" else "edit"


def _settings(folder: Path) -> tuple[list[Method], list[Given]]:
    """A method for each setting; a scenario, called TASK-SEED, for each task and noise seed."""
    both = [Method(name=name, experiment=folder) for name in ("before", "after")]
    tasks = {task.name: task for task in scenarios_of(Layout(title="tasks", methods=both))}
    rows = read_table(str(folder / "cells.csv"))
    places = {row["setting"]: Path(row["folder"]).parent for row in rows}
    names = {Path(row["folder"]).name: row["task"] for row in rows}
    made = [
        Method(name=name, folder=folder / place, files="{scenario}/edited.mp4", role="ours")
        for name, place in places.items()
    ]
    before = made[0].model_copy(
        update={"name": PROMPT_ONLY, "files": "{scenario}/baseline.mp4", "role": "baseline"}
    )
    scenarios = [tasks[task].model_copy(update={"name": name}) for name, task in names.items()]
    return [before, *made], scenarios


def _transfers(folder: Path) -> tuple[list[Method], list[Given]]:
    rows = [read_json(path) for path in sorted(folder.glob("pairs/*/row.json"))]
    if not rows:
        raise SparksError(f"no transfers at {folder}; run benchmarks/transfer.py")
    chosen = {(row["action"], row["seed"]): row for row in reversed(rows)}
    scenarios = []
    for row in sorted(chosen.values(), key=lambda row: str(row["folder"])):
        said = read_settings(folder / row["folder"] / "config.yaml")
        source = folder / "sources" / f"{row['task']}.mp4"
        texts = {"prompt": said["prompt"], "static_prompt": said.get("static_prompt")}
        scenarios.append(Given(name=Path(row["folder"]).name, source=source, **texts))
    place, files = folder / "pairs", "{scenario}/baseline.mp4"
    before = Method(name=PROMPT_ONLY, folder=place, files=files, role="baseline")
    after = {"name": "with its controls", "files": "{scenario}/edited.mp4", "role": "ours"}
    return [before, before.model_copy(update=after)], scenarios


def split(scenario: str) -> tuple[str, str]:
    """Task and noise seed of a scenario."""
    task, _, seed = scenario.rpartition("-")
    return task, seed


def sheets(comparison: Comparison, folder: Path) -> None:
    """Frames of source and edits, a row each, of every task under its first noise seed."""
    (folder / "sheets").mkdir(exist_ok=True)
    for scenario in {split(each.name)[0]: each for each in reversed(comparison.scenarios)}.values():
        videos = {"source": scenario.source, **scenario.edits}
        frames = {name: read_clip(path).frames for name, path in videos.items()}
        contact_sheet(folder / "sheets" / f"{scenario.name}.png", frames)


def points(result: Result, which: str) -> dict[str, list[Row]]:
    """The judge's points of each method, and their overall, by task and noise seed."""
    weighed, rows = rubric(rubric_of(which)), dict[str, list[Row]]()
    for each in result.judged:
        task, seed = split(each.scenario)
        row = {"task": task, "seed": seed, **each.scores, OVERALL: weighed.overall(each.scores)}
        rows.setdefault(each.method, []).append(row)
    return rows


def side_by_side(rows: Mapping[str, Sequence[Row]], axes: Mapping[str, str]) -> str:
    """Means with intervals over tasks and seeds, methods across."""
    lines = [
        [title, *(evidence.mean(estimate(own, axis), ".2f") for own in rows.values())]
        for axis, title in axes.items()
    ]
    return markdown(["points, mean [95 % interval]", *rows], lines)


def differences(rows: Mapping[str, Sequence[Row]], axes: Mapping[str, str], first: str) -> str:
    """Of every method to one of them, by task and noise seed."""
    lines = []
    for name, own in rows.items():
        cells = (evidence.paired(difference(own, rows[first], axis)) for axis in axes)
        lines += [[f"{name} - {first}", *cells]] if name != first else []
    return markdown(["paired difference", *axes.values()], lines)


def of_paper(names: Sequence[str]) -> str:
    """Table 1 as it is printed, of the full-size model."""
    said = {row["metric"].split("↑")[0]: row for row in read_table("table_1")}
    shown = [name for name in ("text", "audio", "both") if name in names]
    lines = [[title, *(said[title][name] for name in shown)] for title in AXES.values()]
    return markdown(["the paper's", *shown], lines)


def report(result: Result, which: str) -> str:
    """The judge's points in tables."""
    rows = points(result, which)
    names = [axis for axis in next(iter(rows.values()))[0] if axis not in ("task", "seed")]
    axes = {name: AXES.get(name, name.replace("_", " ")) for name in names}
    first = next((name for name in ("both", "all", "qwen") if name in rows), PROMPT_ONLY)
    parts = [side_by_side(rows, axes), differences(rows, axes, first)]
    return "\n".join([*parts, of_paper([*rows])] if which == "table_1" else parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=TITLES)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--metrics", default="motion,preservation,steadiness")
    parser.add_argument("--judge", default="pocket")
    parser.add_argument("--model", help="of the judge")
    parser.add_argument("--jobs", type=int, default=1, help="processes that measure")
    asked = parser.parse_args(arguments)
    with quiet_libraries():
        chosen = layout(asked.which, asked.experiment, asked.metrics, asked.judge, asked.model)
        text = compare_layout(chosen, asked.output, Processes(asked.jobs))
    sheets(read_comparison(asked.output), asked.output)
    print(text)
    judged = TypeAdapter(Result).validate_python(read_json(asked.output / "judge.json"))
    summary = report(judged, asked.which)
    write_text(asked.output / "points.md", summary)
    print(summary)


if __name__ == "__main__":
    main()
