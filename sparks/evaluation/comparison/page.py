"""A comparison as tables and as a page with its videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparks import page
from sparks.evaluation.comparison.aggregates import capped, geometric, preserved_if_achieved
from sparks.evaluation.comparison.comparing import Compared
from sparks.evaluation.judge.judging import Judged, remarks
from sparks.evaluation.judge.rubric import Rubric
from sparks.evaluation.metrics.measuring import figures
from sparks.evaluation.metrics.similarity import normalised
from sparks.evaluation.scenarios import Scenario
from sparks.evaluation.statistics.ranking import kendall, pairs_right, roc_area
from sparks.evaluation.statistics.report import compared
from sparks.evaluation.statistics.tables import estimate, markdown
from sparks.search.metrics import Figure

Table = tuple[str, str, list[str], list[list[str]]]  # title, note, header, rows

ROLES = ("ours", "baseline", "other")  # as they stand on the page
BUILT_IN = {
    "overall": Figure("judge's overall", ".2f", "higher"),
    "achieved": Figure("judge: achieved", ".2f", "higher"),
    "p_yes": Figure("P(yes), the search's held-out judge", ".3f", "higher"),
    "true_happened": Figure("happened (measured)", ".2f", "higher"),
    "true_strength": Figure("strength (measured)", ".2f", "higher"),
    "true_continuous": Figure("continuous (measured)", ".2f", "higher"),
    "true_outside": Figure("change outside (measured)", ".4f", "lower"),
}


def as_markdown(outcome: Compared) -> str:
    """All tables."""
    parts = [f"# {outcome.comparison.title}\n"]
    for title, note, header, rows in tables(outcome):
        parts.append(f"## {title}\n\n{note}\n\n{markdown(header, rows)}")
    return "\n".join(parts) + "".join(f"\n- {line}" for line in _notes(outcome)) + "\n"


def as_page(outcome: Compared, folder: Path) -> str:
    """All tables, and of each scenario the videos with what was found of each."""
    shown = [
        page.section(title, page.paragraph(note), page.table(header, rows))
        for title, note, header, rows in tables(outcome)
    ]
    videos = [_scenario(outcome, scenario, folder) for scenario in outcome.comparison.scenarios]
    notes = [page.paragraph(line) for line in _notes(outcome)]
    parts = [page.section("Videos", *videos), *shown]
    if notes:
        parts.append(page.section("Notes", *notes))
    return page.page(outcome.comparison.title, *parts)


def tables(outcome: Compared) -> Iterator[Table]:
    """Whatever there is to say."""
    rows = outcome.rows()
    if outcome.judged is not None and outcome.rubric is not None:
        yield _overview(outcome, outcome.judged.judged, outcome.rubric)
    yield _figures(outcome, rows)
    if any(row.get("d_bg") is not None for row in rows):
        yield _background(outcome, rows)
    for column in ("overall", "true_happened"):
        if (part := compared(rows, column)) is not None:
            yield (f"{BUILT_IN[column].title}: {part.title}", part.note, part.header, part.rows)
    if outcome.known:
        yield _agreement(outcome, rows)


def _methods(outcome: Compared) -> list[str]:
    return list(outcome.comparison.roles)


def _overview(outcome: Compared, judged: Sequence[Judged], rubric: Rubric) -> Table:
    """Three aggregates, and preservation given success."""
    lines = []
    for method in _methods(outcome):
        mine = [each for each in judged if each.method == method]
        if not mine:
            continue
        preserved = preserved_if_achieved(mine, rubric)
        lines.append(
            [
                method,
                str(len(mine)),
                f"{100 * np.mean([each.achieved for each in mine]):.1f}",
                f"{np.mean([each.overall for each in mine]):.2f}",
                f"{np.mean([capped(each.scores, rubric) for each in mine]):.2f}",
                f"{np.mean([geometric(each.scores, rubric) for each in mine]):.2f}",
                "" if preserved is None else f"{preserved[0]:.2f} (of {preserved[1]})",
                f"{np.mean([each.rank for each in mine]):.2f}",
                _preferred(outcome, method),
            ]
        )
    assert outcome.judged is not None
    note = (
        f"Judged by {outcome.judged.judge} in the rubric {rubric.name!r}. Capped: no axis counts "
        "for more than the first; geometric: weighted, the first axis twice. Preservation is a "
        "mean over edits that achieved the task alone. Preferred: by every call, in either order."
    )
    header = ["method", "edits", "achieved %", "overall", "capped", "geometric"]
    return ("Judge", note, [*header, "preservation | achieved", "rank", "preferred"], lines)


def _preferred(outcome: Compared, method: str) -> str:
    assert outcome.judged is not None
    mine = [p for p in outcome.judged.preferences if method in (p["first"], p["second"])]
    won, tied = (sum(p["preferred"] == what for p in mine) for what in (method, "tie"))
    return f"{won} of {len(mine)}, {tied} ties"


def _figures(outcome: Compared, rows: Sequence[dict[str, Any]]) -> Table:
    """Figures downwards, methods across, with intervals over scenarios."""
    lines = []
    for name, figure in (BUILT_IN | figures()).items():
        cells = []
        for method in _methods(outcome):
            mine = [{**row, "task": row["scenario"]} for row in rows if row["method"] == method]
            mean = estimate(mine, name)
            form = figure.form
            cells.append(
                f"{mean.mean:{form}} [{mean.low:{form}}, {mean.high:{form}}]" if mean else ""
            )
        if any(cells):
            lines.append([figure.title, *cells, figure.better or ""])
    note = f"Means over {len(outcome.comparison.scenarios)} scenarios with 95 % intervals."
    return ("Figures", note, ["", *_methods(outcome), "better"], lines)


def _background(outcome: Compared, rows: Sequence[dict[str, Any]]) -> Table:
    """D_bg brought to 0..10 within each scenario, as the paper has it."""
    lines, per_method = [], {method: [] for method in _methods(outcome)}  # type: ignore[var-annotated]
    for scenario in outcome.comparison.scenarios:
        values = {
            row["method"]: row["d_bg"]
            for row in rows
            if row["scenario"] == scenario.name and row.get("d_bg") is not None
        }
        if values:
            brought = normalised(values)
            for method, value in brought.items():
                per_method[method].append(value)
            cells = [f"{brought[m]:.1f}" if m in brought else "" for m in _methods(outcome)]
            lines.append([scenario.name, *cells])
    means = [f"{np.mean(v):.2f}" if v else "" for v in per_method.values()]
    note = "0 is the least distorted background of the scenario's edits, 10 the most."
    header = ["scenario", *_methods(outcome)]
    return ("D_bg within scenarios (0 to 10)", note, header, [["mean", *means], *lines])


def _agreement(outcome: Compared, rows: Sequence[dict[str, Any]]) -> Table:
    """How well everything but the measurement itself ranks what the measurement found."""
    truths = [row for row in rows if "true_happened" in row]
    names = dict(figures())
    if outcome.judged is not None and outcome.judged.judge != "pocket":
        names = {n: BUILT_IN[n] for n in ("overall", "achieved")} | names
    names = {"p_yes": BUILT_IN["p_yes"]} | names
    lines = []
    for name, figure in names.items():
        seen = [row for row in truths if row.get(name) is not None]
        if len(seen) < 3:
            continue
        sign = -1 if figure.better == "lower" else 1
        values = [sign * row[name] for row in seen]
        area = roc_area(values, [bool(row["true_happened"]) for row in seen])
        tau = kendall(values, [row["true_strength"] for row in seen])
        pairs = pairs_right(
            values, [row["true_happened"] for row in seen], [row["scenario"] for row in seen]
        )
        lines.append(
            [
                figure.title,
                "" if area is None else f"{area:.2f}",
                "" if tau is None else f"{tau:.2f}",
                "" if pairs is None else f"{100 * pairs[0]:.0f} % of {pairs[1]}",
            ]
        )
    note = (
        "Against pocket's measurement of the videos. ROC: how often an edit that happened has the "
        "better value; tau: Kendall's, with the strength; pairs: of edits of one scenario of which "
        "one happened, how many are put right. Of distances, less counts as better."
    )
    return ("Agreement with the truth", note, ["", "ROC area", "tau", "pairs right"], lines)


def _scenario(outcome: Compared, scenario: Scenario, folder: Path) -> str:
    videos = {"source": _link(scenario.source, folder)}
    order = sorted(scenario.edits, key=lambda m: ROLES.index(_role(outcome, m)))
    for method in order:
        videos[_caption(outcome, scenario, method)] = _link(scenario.edits[method], folder)
    row = page.video_row(f"{scenario.name}: {scenario.prompt}", videos)
    return row + (page.paragraph(". ".join(scenario.notes) + ".") if scenario.notes else "")


def _role(outcome: Compared, method: str) -> str:
    return outcome.comparison.roles[method]


def _link(path: Path, folder: Path) -> str:
    return path.resolve().relative_to(folder.resolve()).as_posix()


def _caption(outcome: Compared, scenario: Scenario, method: str) -> str:
    role = _role(outcome, method)
    lines = [method if role == "other" or role == method else f"{method} ({role})"]
    if outcome.judged is not None:
        for each in outcome.judged.judged:
            if (each.scenario, each.method) == (scenario.name, method):
                lines.append(f"overall {each.overall:.1f}, achieved {each.achieved:.0%}")
    if (measured := outcome.known.get((scenario.name, method))) is not None:
        lines.append("happened" if measured["happened"] else "did not happen")
    return "\n".join(lines)


def _notes(outcome: Compared) -> list[str]:
    """What could not be had or does not fit together."""
    missing = {n: why for one in outcome.measured.values() for n, why in one.missing.items()}
    lines = [f"Not measured: {name}: {why}" for name, why in missing.items()]
    return lines + (remarks(outcome.judged) if outcome.judged is not None else [])
