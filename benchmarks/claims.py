"""The tables of docs/research/claims.md, of one experiment.

    sparks ablate benchmarks/claims.yaml --tasks pocket12 --jobs 2 --output runs/claims
    python benchmarks/claims.py runs/claims

Each table picks settings of the same experiment, so that what they share is run once; settings
that the experiment does not have are left out.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from sparks.evaluation.statistics.tables import markdown
from sparks.experiments.score import METRICS

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


def sections(folder: Path) -> Iterator[str]:
    """Every table of which the experiment has two settings or more."""
    found = json.loads((folder / "table.json").read_text(encoding="utf-8"))["estimates"]
    known = {(line["setting"], line["metric"]): line for line in found}
    settings = {setting for setting, _ in known}
    for title, columns in TABLES.items():
        chosen = {name: setting for name, setting in columns.items() if setting in settings}
        lines = []
        for metric in SHOWN:
            label, form = METRICS[metric]
            cells = (known[setting, metric] for setting in chosen.values())
            shown = (f"{c['mean']:{form}} [{c['low']:{form}}, {c['high']:{form}}]" for c in cells)
            lines.append([label, *shown])
        if len(chosen) > 1:
            yield f"## {title}\n\n{markdown(['mean [95 % interval]', *chosen], lines)}"


if __name__ == "__main__":
    print("\n".join(sections(Path(sys.argv[1]))))
