"""The tables of docs/claims.md, of one experiment.

    sparks ablate benchmarks/claims.yaml --tasks pocket12 --jobs 2 --output runs/claims
    python benchmarks/claims.py runs/claims

Each table picks settings of the same experiment, so that what they share is run once.
"""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sparks.score import METRICS
from sparks.tables import estimate, markdown

TABLES = {
    "Sound and text": {"both": "default", "text": "text", "audio": "audio"},
    "Preserving terms": {
        "none": "none",
        "latent": "latent",
        "lpips": "lpips",
        "temporal": "temporal",
        "all": "default",
    },
    "Means and sums": {"mean": "default", "sum": "sum"},
    "Gradient of alpha": {"direct": "adam-direct", "reference": "adam-reference"},
}
SHOWN = (
    *("p_yes_baseline", "p_yes_best", "p_yes_edited"),
    *("p_yes_judge_edited", "judge_agrees", "judge_right", "happened_baseline", "happened_edited"),
    *("strength_edited", "continuous_edited", "outside_edited", "qwen_calls"),
)
Row = dict[str, float | str | None]


def read(path: Path) -> dict[str, list[Row]]:
    """The edits of each setting."""
    groups: dict[str, list[Row]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row: Row = {name: number(line[name]) for name in SHOWN}
            groups.setdefault(line["setting"], []).append(row | {"task": line["task"]})
    return groups


def number(text: str) -> float | None:
    """What a cell holds."""
    if text in ("True", "False"):
        return float(text == "True")
    return float(text) if text else None


def table(groups: Mapping[str, Sequence[Row]], chosen: Mapping[str, str]) -> str:
    """Means with 95 % bootstrap intervals, one column a setting."""
    lines = [
        [METRICS[name][0], *(form(groups[setting], name) for setting in chosen.values())]
        for name in SHOWN
    ]
    return markdown(["mean [95 % interval]", *chosen], lines)


def form(rows: Sequence[Row], name: str) -> str:
    """One cell."""
    found = estimate(rows, name)
    if found is None:
        return ""
    mean, low, high = (f"{v:{METRICS[name][1]}}" for v in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def sections(folder: Path) -> Iterator[str]:
    """Every table whose settings the experiment has."""
    groups = read(folder / "cells.csv")
    for title, chosen in TABLES.items():
        if groups.keys() >= set(chosen.values()):
            yield f"## {title}\n\n{table(groups, chosen)}"


if __name__ == "__main__":
    print("\n".join(sections(Path(sys.argv[1]))))
