"""The table of docs/held-out.md: every held-out task, edited with the default settings.

    python benchmarks/held_out.py --output runs/held-out

Each task's source is written as an mp4, read back and edited by `sparks.edit.edit`; the decoded
`baseline.mp4` and `edited.mp4` are then judged by the world's measurement, which has never seen the
critic. A finished task is not run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from sparks.edit import edit
from sparks.media import read_clip
from sparks.pocket import measure
from sparks.pocket.tasks import tasks
from sparks.tasks import Task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/held-out"))
    parser.add_argument("--sheets", type=Path, help="also copy each contact sheet into this folder")
    options = parser.parse_args()
    output: Path = options.output
    rows = [judge(task, run(task, output)) for task in tasks()]
    for task in tasks() if options.sheets else ():
        shutil.copy(output / task.name / "contact_sheet.png", options.sheets / f"{task.name}.png")
    print(table(rows))
    (output / "table.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def run(task: Task, output: Path) -> Path:
    """Edit the task's mp4 with the default settings, unless that is already done."""
    folder = output / task.name
    if (folder / "result.json").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    settings = {
        "video": str(task.write_source(output)),
        "prompt": task.prompt,
        "static_prompt": task.static_prompt,
        "prefix_frames": task.prefix_frames,
    }
    edit(settings, folder)
    return folder


def judge(task: Task, folder: Path) -> dict[str, Any]:
    """What the pixels of the decoded videos say."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    source = read_clip(folder.parent / f"{task.name}.mp4").frames
    clips = {name: read_clip(folder / f"{name}.mp4").frames for name in ("baseline", "edited")}
    verdicts = {name: measure.judge(frames[None], [task.prompt]) for name, frames in clips.items()}
    colour = task.source.scene().colour
    return {
        "task": task.name,
        "prompt": task.prompt,
        "p_yes_baseline": result["p_yes_baseline"],
        "p_yes_best": result["p_yes_best"],
        "baseline_happened": bool(verdicts["baseline"].happened),
        "edited_happened": bool(verdicts["edited"].happened),
        "strength": float(verdicts["edited"].strength),
        "continuous": bool(verdicts["edited"].continuous),
        "onset": float(verdicts["edited"].onset),
        "outside_error": float(measure.outside_error(clips["edited"][None], source[None], colour)),
        "outside_error_baseline": float(
            measure.outside_error(clips["baseline"][None], source[None], colour)
        ),
        "qwen_calls": result["spent"]["qwen_calls"],
        "seconds": result["spent"]["wall_clock"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    columns = "task|prompt|P(yes) start|P(yes) best|happened before|happened after|strength"
    columns += "|continuous|change outside (start)"
    lines = [f"| {columns.replace('|', ' | ')} |", "|" + " --- |" * 9]
    for row in rows:
        cells = [
            row["task"],
            row["prompt"],
            f"{row['p_yes_baseline']:.3f}",
            f"{row['p_yes_best']:.3f}",
            _word(row["baseline_happened"]),
            _word(row["edited_happened"]),
            f"{row['strength']:.2f}",
            _word(row["continuous"]),
            f"{row['outside_error']:.4f} ({row['outside_error_baseline']:.4f})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    won = sum(row["edited_happened"] and not row["baseline_happened"] for row in rows)
    return "\n".join([*lines, "", f"Moved by tuning, by ground truth: {won} of {len(rows)}."])


def _word(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    main()
