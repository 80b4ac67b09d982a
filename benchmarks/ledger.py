"""Append a finished `sparks bench` or `sparks ablate` to the ledger of runs.

    python benchmarks/ledger.py RUN [--ledger docs/ledger.jsonl] [--commit HASH] [--note TEXT]

One line of JSON a run: the commit, the weights, the settings, tasks and noise seeds, and every
figure with its interval, so that the number of looks at the test half is known to everybody.
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparks.experiments.cells import load_plan
from sparks.experiments.results import write_results
from sparks.pocket import weights_path
from sparks.pocket.tasks import DEV_SEED, TEST_SEED, Source

HALVES = {DEV_SEED: "development", TEST_SEED: "test"}


def entry(run: Path, commit: str, note: str) -> dict[str, Any]:
    """What the ledger says of a run; its tables are written again from its rows."""
    write_results(run)
    table = json.loads((run / "table.json").read_text(encoding="utf-8"))
    plan = load_plan(run)
    seeds = {task.source.seed for task in plan.tasks if isinstance(task.source, Source)}
    return {
        "commit": commit,
        "note": note,
        "halves": sorted({HALVES.get(seed, "other") for seed in seeds}),
        "title": plan.title,
        "tasks": len({row["task"] for row in table["cells"]}),
        "seeds": sorted({row["seed"] for row in table["cells"]}),
        "edits": len(table["cells"]),
        "of": len(plan.cells),
        "weights": weights_digest(),
        "settings": {cell.setting: cell.settings for cell in plan.cells},
        "figures": table["estimates"],
    }


def weights_digest() -> str:
    """Of all bundled weights."""
    files = sorted(weights_path().rglob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> None:
    """Append one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--ledger", type=Path, default=Path("docs/ledger.jsonl"))
    parser.add_argument("--commit", help="of the code and weights; that of HEAD by default")
    parser.add_argument("--note", default="")
    options = parser.parse_args(arguments)
    commit = (
        options.commit
        or subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    line = json.dumps(entry(options.run, commit, options.note))
    with options.ledger.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(f"{options.ledger}: {line[:160]} ...")


if __name__ == "__main__":
    main()
