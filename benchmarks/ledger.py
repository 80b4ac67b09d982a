"""Append a finished `sparks bench` or `sparks ablate` to the ledger of runs.

    python benchmarks/ledger.py RUN [--ledger docs/ledger.jsonl] [--commit HASH] [--note TEXT]

One line of JSON a run: the commit, the weights, the settings, tasks and noise seeds, and every
figure with its interval, so that the number of looks at the test half is known to everybody.
"""

import argparse
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparks.experiments.cells import Plan, load_plan
from sparks.experiments.results import write_results
from sparks.pocket import weights_path
from sparks.pocket.tasks import DEV_SEED, TEST_SEED, Source

HALVES = {DEV_SEED: "development", TEST_SEED: "test"}


def entry(run: Path, commit: str, note: str) -> dict[str, Any]:
    """What the ledger says of a run; its tables are written again from its rows."""
    write_results(run)
    table = json.loads((run / "table.json").read_text(encoding="utf-8"))
    plan = load_plan(run)
    return line(plan, table["cells"], table["estimates"], plan.title, commit, note)


def line(
    plan: Plan,
    rows: Sequence[Mapping[str, Any]],
    figures: Sequence[Mapping[str, Any]],
    title: str,
    commit: str,
    note: str,
) -> dict[str, Any]:
    """What the ledger says of `figures` that were made from edits of a plan, `rows`."""
    seeds = {task.source.seed for task in plan.tasks if isinstance(task.source, Source)}
    return {
        "commit": commit or head(),
        "note": note,
        "halves": sorted({HALVES.get(seed, "other") for seed in seeds}),
        "title": title,
        "tasks": len({row["task"] for row in rows}),
        "seeds": sorted({row["seed"] for row in rows}),
        "edits": len({(row.get("setting"), row["task"], row["seed"]) for row in rows}),
        "of": len(plan.cells),
        "weights": weights_digest(),
        "settings": {cell.setting: cell.settings for cell in plan.cells},
        "figures": figures,
    }


def append(ledger: Path, content: Mapping[str, Any]) -> None:
    """Add one line."""
    text = json.dumps(content)
    with ledger.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    print(f"{ledger}: {text[:160]} ...")


def head() -> str:
    """The commit that is checked out, empty where there is none."""
    said = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(said, capture_output=True, text=True, check=False).stdout.strip()


def weights_digest() -> str:
    """Of all bundled weights."""
    files = sorted(weights_path().rglob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main(arguments: Sequence[str] | None = None) -> None:
    """Append one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--ledger", type=Path, default=Path("docs/ledger.jsonl"))
    parser.add_argument("--commit", default="", help="of the code and weights; HEAD's if left out")
    parser.add_argument("--note", default="")
    options = parser.parse_args(arguments)
    append(options.ledger, entry(options.run, options.commit, options.note))


if __name__ == "__main__":
    main()
