"""How well tuned controls transfer: each edit's controls on the other clips asked to do the same.

    python benchmarks/transfer.py --output runs/transfer

Every task of `pocket25` that a pair needs is edited once with the default settings; then its
controls are rendered on other tasks of the same action. The decoded videos are judged by the
world's measurement. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import islice, permutations
from pathlib import Path
from typing import Any

from sparks.experiments.tasks import Task, task_list
from sparks.media.clip import read_clip
from sparks.pocket import measure
from sparks.runs.cache import Cache
from sparks.runs.edit import edit
from sparks.runs.transfer import transfer

COLUMNS = {
    "donor": "controls of",
    "task": "on",
    "prompt": "prompt",
    "tuned": "tuned on itself",
    "baseline": "prompt only",
    "transfer": "with the controls",
    "p_yes_baseline": "P(yes), prompt only",
    "p_yes_transfer": "P(yes), with the controls",
    "gap": "mean gap gained",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--tasks", default="pocket25")
    parser.add_argument("--pairs", type=int, help="the first so many; all by default")
    parser.add_argument("--budget", default="qwen_calls=30")
    options = parser.parse_args()
    cache, rows = Cache(), []
    for donor, task in islice(pairs(task_list(options.tasks)), options.pairs):
        for each in (donor, task):
            tune(each, options.output, options.budget, cache)
        rows.append(row(donor, task, options.output, cache))
        print(line(rows[-1]), flush=True)
    print("\n" + table(rows))
    (options.output / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def pairs(tasks: list[Task]) -> list[tuple[Task, Task]]:
    """Ordered pairs of tasks that ask for the same action, those of one action spread out."""
    same = [(a, b) for a, b in permutations(tasks, 2) if a.action == b.action]
    return sorted(same, key=lambda pair: tasks.index(pair[1]) - tasks.index(pair[0]) < 0)


def tune(task: Task, output: Path, budget: str, cache: Cache) -> None:
    """Edit the task, unless that is done."""
    folder = output / "tuned" / task.name
    if (folder / "result.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    (output / "sources").mkdir(parents=True, exist_ok=True)
    settings = task.settings(task.write_source(output / "sources"))
    edit(settings | {"budget": budget}, folder, cache=cache)


def row(donor: Task, task: Task, output: Path, cache: Cache) -> dict[str, Any]:
    """Whether the action happened, by ground truth, in the three videos of a pair."""
    folder = output / "pairs" / f"{donor.name}-on-{task.name}"
    if not (folder / "result.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        settings = task.settings(output / "sources" / f"{task.name}.mp4")
        transfer(output / "tuned" / donor.name, settings, folder, cache=cache)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    videos = {
        "tuned": output / "tuned" / task.name / "edited.mp4",
        "baseline": folder / "baseline.mp4",
        "transfer": folder / "edited.mp4",
    }
    clips = {name: read_clip(path).frames[None] for name, path in videos.items()}
    happened = {
        name: bool(measure.judge(frames, [task.prompt]).happened) for name, frames in clips.items()
    }
    return {
        "donor": donor.name,
        "task": task.name,
        "prompt": task.prompt,
        **happened,
        "p_yes_baseline": result["p_yes_baseline"],
        "p_yes_transfer": result["p_yes_transfer"],
        "gap": result["gap_transfer"] - result["gap_baseline"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, with sums."""
    head = [f"| {' | '.join(COLUMNS.values())} |", "|" + " --- |" * len(COLUMNS)]
    counts = {name: sum(each[name] for each in rows) for name in ("baseline", "transfer", "tuned")}
    return "\n".join(
        [
            *head,
            *map(line, rows),
            "",
            f"It happened by ground truth, of {len(rows)} pairs: prompt only {counts['baseline']}, "
            f"with another clip's controls {counts['transfer']}, tuned on itself "
            f"{counts['tuned']}.",
        ]
    )


def line(row: dict[str, Any]) -> str:
    return "| " + " | ".join(_cell(row[name]) for name in COLUMNS) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
