"""The tables, curves and page of an experiment, made from its folder alone.

table.md, table.csv, table.json    means with 95 % bootstrap intervals over tasks and seeds
cells.csv                          one line per edit
curve*.png                         best so far against calls and against seconds
index.html                         all of it, with the videos
sheets/TASK.png                    if asked for: frames of source, prompt only and every setting
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from sparks import page
from sparks.evaluation.statistics.tables import (
    Estimate,
    Row,
    csv_text,
    difference,
    estimate,
    markdown,
)
from sparks.experiments.cells import Plan, finished, load_plan
from sparks.experiments.curves import draw_curves
from sparks.experiments.measured import Column, figure_columns, missing, with_figures
from sparks.experiments.score import METRICS
from sparks.experiments.sources import source
from sparks.experiments.tasks import Task
from sparks.files import write_text
from sparks.media.clip import contact_sheet, read_clip

Groups = dict[str, list[Row]]  # rows of each setting
Columns = Mapping[str, Column]  # of METRICS, and the figures that were measured


def write_results(folder: Path, sheets: bool = False) -> str:
    """Write every file named above, contact sheets only with `sheets`, and return the Markdown.

    Raises:
        SparksError: `folder` holds no plan.
    """
    plan = load_plan(folder)
    rows = with_figures(folder, finished(folder, plan))
    columns = METRICS | figure_columns(rows)
    tables = {match: _groups(plan, rows, match) for match in _matches(plan)}
    estimates = [
        line for match, groups in tables.items() for line in _estimates(match, groups, columns)
    ]
    text = "\n".join(_markdown(plan, match, groups, columns) for match, groups in tables.items())
    text += "".join(f"\n{line}\n" for line in missing(folder, rows))
    if len(rows) < len(plan.cells):
        text = f"{len(rows)} of {len(plan.cells)} edits are finished.\n\n{text}"
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", csv_text(estimates))
    write_text(folder / "cells.csv", csv_text(rows))
    content = {"title": plan.title, "estimates": estimates, "cells": rows}
    write_text(folder / "table.json", json.dumps(content, indent=1) + "\n")
    for match, groups in tables.items():
        draw_curves(folder / f"curve{_suffix(match)}.png", folder, groups)
        for task, videos in _videos(folder, plan, groups) if sheets else ():
            _write_sheet(folder / "sheets" / f"{task.name}{_suffix(match)}.png", folder, videos)
    write_text(folder / "index.html", _page(folder, plan, tables, columns))
    return text


def _matches(plan: Plan) -> list[str | None]:
    """What settings were matched on; None alone where each had the same budget."""
    return list(dict.fromkeys(cell.match for cell in plan.cells if cell.match)) or [None]


def _groups(plan: Plan, rows: Sequence[Row], match: str | None) -> Groups:
    """The matched rows by setting, the reference's of the same tasks and seeds among them."""
    pairs = {(cell.task, cell.settings["seed"]) for cell in plan.cells if cell.match == match}
    groups: Groups = {}
    for row in rows:
        if row["match"] in (match, None) and (row["task"], row["seed"]) in pairs:
            groups.setdefault(row["setting"], []).append(row)
    return groups


def _estimates(match: str | None, groups: Groups, columns: Columns) -> Iterator[dict[str, Any]]:
    for setting, rows in groups.items():
        for name in columns:
            if (interval := estimate(rows, name)) is not None:
                yield {"match": match, "setting": setting, "metric": name, **asdict(interval)}


def _heading(match: str | None) -> str:
    return f"At equal {METRICS[match][0]}" if match else "Means"


def _suffix(match: str | None) -> str:
    return f"-{match}" if match else ""


def _markdown(plan: Plan, match: str | None, groups: Groups, columns: Columns) -> str:
    parts = [_means(groups, columns), _by_task(plan, groups, columns)]
    parts[1:1] = [_differences(groups)] if len(groups) > 1 else []
    return f"## {_heading(match)}\n\n" + "\n".join(markdown(*part) for part in parts)


def _means(groups: Groups, columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Metrics downwards, settings across."""
    lines = [
        ["space (dimensions)", *(_distinct(rows, _space) for rows in groups.values())],
        ["edits", *(str(len(rows)) for rows in groups.values())],
    ]
    for name, (title, form) in columns.items():
        intervals = [estimate(rows, name) for rows in groups.values()]
        if any(intervals):
            lines.append([title, *(_interval(each, form) for each in intervals)])
    return ["mean [95 % interval]", *groups], lines


COMPARED = ("happened_edited", "true_edited", "judge_agrees", "p_yes_edited")


def _differences(groups: Groups) -> tuple[list[str], list[list[str]]]:
    """What each setting has more than the first, in pairs of the same task and seed."""
    (first, reference), *others = groups.items()
    lines = []
    for name in COMPARED:
        found = [difference(rows, reference, name) for _, rows in others]
        if any(found):
            lines.append([METRICS[name][0], *(_more(each) for each in found)])
    return [f"paired difference to {first}", *(name for name, _ in others)], lines


def _more(interval: Estimate | None) -> str:
    if interval is None:
        return ""
    text = f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
    return text + (" none" if interval.low <= 0 <= interval.high else "")


def _by_task(plan: Plan, groups: Groups, columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Tasks downwards; all metrics of a single setting across, or the outcome of several."""
    only = next(iter(groups.values()), []) if len(groups) == 1 else []
    shown = [name for name in columns if any(row.get(name) is not None for row in only)]
    lines = []
    by_task = [_grouped(rows) for rows in groups.values()]
    for task in plan.tasks:
        cells = [rows.get(task.name, []) for rows in by_task]
        if only:
            texts = [_mean(cells[0], name, columns[name][1]) for name in shown]
        else:
            texts = [_outcome(rows) for rows in cells]
        lines.append([task.name, task.prompt, *texts])
    titles = [columns[name][0] for name in shown] if only else [f"{name}" for name in groups]
    return ["task", "prompt", *titles], lines


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their task."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["task"], []).append(row)
    return grouped


def _space(row: Row) -> str:
    return f"{row['space']} ({row['dim']})"


def _distinct(rows: Sequence[Row], text: Any) -> str:
    return ", ".join(dict.fromkeys(text(row) for row in rows))


def _interval(interval: Estimate | None, form: str) -> str:
    if interval is None:
        return ""
    return f"{interval.mean:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _mean(rows: Sequence[Row], name: str, form: str) -> str:
    """Of one task."""
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return f"{sum(values) / len(values):{form}}" if values else ""


def _outcome(rows: Sequence[Row]) -> str:
    """Final P(yes) and how often it happened."""
    truth = [row["happened_edited"] for row in rows if row.get("happened_edited") is not None]
    happened = f", happened {sum(truth)} of {len(truth)}" if truth else ""
    return _mean(rows, "p_yes_edited", METRICS["p_yes_edited"][1]) + happened


def _page(folder: Path, plan: Plan, tables: Mapping[str | None, Groups], columns: Columns) -> str:
    sections = []
    for match, groups in tables.items():
        curve = page.image(f"curve{_suffix(match)}.png", "best so far")
        by_task = page.table(*_by_task(plan, groups, columns), words=2)
        parts = (page.table(*_means(groups, columns)), curve, by_task)
        rows = [row for rows in groups.values() for row in rows]
        notes = map(page.paragraph, (_READING, *missing(folder, rows)))
        sections.append(page.section(_heading(match), *notes, *parts))
        videos = (
            page.video_row(f"{task.name}: {task.prompt}", shown)
            for task, shown in _videos(folder, plan, groups)
        )
        sections.append(page.section(f"Videos: {_heading(match).lower()}", *videos))
    settings: dict[str, Any] = {}
    for cell in plan.cells:
        settings.setdefault(cell.setting, cell.settings)
    text = yaml.safe_dump(settings, sort_keys=False)
    return page.page(plan.title, *sections, page.section("Settings", page.code(text)))


_READING = (
    "Means over tasks of means over seeds, with 95 % bootstrap intervals that resample both. "
    "Happened, strength, continuous and change outside are measured on the decoded videos, by no "
    "critic; the change outside the object is in units of what the codec alone does to the source."
)


def _videos(folder: Path, plan: Plan, groups: Groups) -> Iterator[tuple[Task, dict[str, str]]]:
    """Of each task the videos by caption: source, prompt only, the first seed of every setting."""
    by_task = _grouped([row for rows in groups.values() for row in rows])
    for task in plan.tasks:
        mine = by_task.get(task.name, [])
        if not mine:
            continue
        first = [row for row in mine if row["seed"] == mine[0]["seed"]]
        prompt_only = _caption("prompt only", first[0], "baseline")
        videos = {"source": source(folder, task).relative_to(folder).as_posix()}
        videos[prompt_only] = f"{first[0]['folder']}/baseline.mp4"
        for row in first:
            videos[_caption(row["setting"], row, "edited")] = f"{row['folder']}/edited.mp4"
        yield task, videos


def _write_sheet(path: Path, folder: Path, videos: Mapping[str, str]) -> None:
    clips = {caption.splitlines()[0]: folder / video for caption, video in videos.items()}
    contact_sheet(path, {name: read_clip(clip).frames for name, clip in clips.items()})


def _caption(name: str, row: Row, which: str) -> str:
    lines = [name, f"P(yes) {row[f'p_yes_{which}']:.3f}"]
    if row.get(f"p_yes_judge_{which}") is not None:
        lines.append(f"judge {row[f'p_yes_judge_{which}']:.3f}")
    if row.get(f"happened_{which}") is not None:
        lines.append("happened" if row[f"happened_{which}"] else "did not happen")
    return "\n".join(lines)
