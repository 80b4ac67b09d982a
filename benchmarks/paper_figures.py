"""The paper's figures S4 to S6 and its Table 1, on pocket, from the videos of finished experiments.

    sparks ablate regularisation --output runs/regularisation
    python benchmarks/paper_figures.py s4 runs/regularisation runs/s4
    python benchmarks/paper_figures.py s5 runs/critic runs/s5         # of sparks ablate critic
    python benchmarks/paper_figures.py s6 runs/transfer runs/s6       # of benchmarks/transfer.py
    python benchmarks/paper_figures.py table_1 runs/modality runs/t1  # of sparks ablate modality

Nothing is searched. Each is a comparison (see `sparks compare`) of the experiment's settings and
the prompt-only render, with a contact sheet for every task; Table 1 is printed beside the paper's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from sparks.errors import SparksError
from sparks.evaluation.comparison.comparing import compare_layout
from sparks.evaluation.comparison.layout import Given, Judge, Layout, Method
from sparks.evaluation.judge.judging import Result
from sparks.evaluation.judge.rubric import rubric
from sparks.evaluation.scenarios import Comparison, read_comparison
from sparks.evaluation.statistics.reading import read_table
from sparks.evaluation.statistics.tables import markdown
from sparks.media.clip import contact_sheet, read_clip
from sparks.models.quiet import quiet_libraries
from sparks.runs.watch import read_json
from sparks.settings.yaml import read_settings

TITLES = {
    "s4": "Regularisation (Figure S4)",
    "s5": "Supervision (Figure S5)",
    "s6": "Transfer (Figure S6)",
    "table_1": "Modality (Table 1)",
}
AXES = {"alignment": "Alignment", "naturalness": "Naturalness", "preservation": "Preservation"}


def layout(which: str, folder: Path, metrics: str, backend: str, model: str | None) -> Layout:
    """Prompt only, then every setting of the experiment.

    Raises:
        SparksError: there is no such experiment.
    """
    judge = Judge(backend=backend, model=model, rubric="modality" if which == "table_1" else "edit")
    methods, scenarios = _transfers(folder) if which == "s6" else (_settings(folder), None)
    return Layout(
        title=TITLES[which],
        methods=methods,
        scenarios=scenarios,
        metrics=metrics,
        model="pocket",
        judge=judge,
    )


def _settings(folder: Path) -> list[Method]:
    rows = read_table(str(folder / "cells.csv"))
    names = list(dict.fromkeys(row["setting"] for row in rows))
    tuned = [Method(name=n, experiment=folder, setting=n, role="ours") for n in names]
    before = {"experiment": folder, "setting": names[0], "video": "baseline", "role": "baseline"}
    return [Method(name="prompt only", **before), *tuned]


def _transfers(folder: Path) -> tuple[list[Method], list[Given]]:
    pairs = sorted(path.parent for path in folder.glob("pairs/*/result.json"))
    if not pairs:
        raise SparksError(f"no transfers at {folder}; run benchmarks/transfer.py")
    scenarios = []
    for pair in pairs:
        said = read_settings(pair / "config.yaml")
        source = folder / "sources" / f"{pair.name.partition('-on-')[2]}.mp4"
        texts = {"prompt": said["prompt"], "static_prompt": said.get("static_prompt")}
        scenarios.append(Given(name=pair.name, source=source, **texts))
    place = {"folder": folder / "pairs"}
    return [
        Method(name="prompt only", files="{scenario}/baseline.mp4", role="baseline", **place),
        Method(name="with its controls", files="{scenario}/edited.mp4", role="ours", **place),
    ], scenarios


def sheets(comparison: Comparison, folder: Path) -> None:
    """Frames of source and edits of every scenario, a row each."""
    (folder / "sheets").mkdir(exist_ok=True)
    for scenario in comparison.scenarios:
        videos = {"source": scenario.source, **scenario.edits}
        frames = {name: read_clip(path).frames for name, path in videos.items()}
        contact_sheet(folder / "sheets" / f"{scenario.name}.png", frames)


def table_1(result: Result) -> str:
    """Points by axis and setting beside the paper's of the full-size model."""
    said = {row["metric"].split("↑")[0]: row for row in read_table("table_1")}
    names = [n for n in ("text", "audio", "both") if any(e.method == n for e in result.judged)]
    weighed = rubric("modality")
    lines = []
    for axis, title in [*AXES.items(), ("overall", "Overall")]:
        cells = []
        for name in names:
            mine = [each for each in result.judged if each.method == name]
            scores = [{**each.scores, "overall": weighed.overall(each.scores)} for each in mine]
            cells.append(f"{np.mean([points[axis] for points in scores]):.2f}")
        lines.append([title, *cells, *(said[title][name] for name in names)])
    return markdown(["", *names, *(f"paper: {name}" for name in names)], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, draw and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=TITLES)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--metrics", default="motion,preservation,steadiness")
    parser.add_argument("--judge", default="pocket")
    parser.add_argument("--model", help="of the judge")
    asked = parser.parse_args(arguments)
    with quiet_libraries():
        chosen = layout(asked.which, asked.experiment, asked.metrics, asked.judge, asked.model)
        text = compare_layout(chosen, asked.output)
    sheets(read_comparison(asked.output), asked.output)
    print(text)
    if asked.which == "table_1":
        found = TypeAdapter(Result).validate_python(read_json(asked.output / "judge.json"))
        print(table_1(found))


if __name__ == "__main__":
    main()
