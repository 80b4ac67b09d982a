"""`sparks stats`: what kind of table it is, and everything that can be said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sparks.errors import SparksError
from sparks.evaluation.judge.rubric import EDIT
from sparks.evaluation.statistics import paper
from sparks.evaluation.statistics.agreement import fleiss, krippendorff
from sparks.evaluation.statistics.bootstrap import intervals
from sparks.evaluation.statistics.counts import Array, Counts, Denominator, Standing
from sparks.evaluation.statistics.reading import Cells, read_table
from sparks.evaluation.statistics.robustness import leave_one_out
from sparks.evaluation.statistics.scores import Scores, is_scores, numeric, read_scores
from sparks.evaluation.statistics.significance import friedman, pairs
from sparks.evaluation.statistics.strength import strengths
from sparks.evaluation.statistics.tables import estimate, markdown
from sparks.evaluation.statistics.votes import COLUMNS, Votes, read_votes, without_hasty


@dataclass(frozen=True)
class Asked:
    """Options of `sparks stats`.

    Attributes:
        participants: of a table of shares by scenario.
        denominator: of Achieved.
        hasty: seconds that a participant's median ballot must take.
        reference: the method that others are compared with; all pairs if None.
        columns: of a table of scores; all if empty.
    """

    participants: int = paper.PARTICIPANTS
    denominator: Denominator = "any_tick"
    hasty: float | None = None
    reference: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """One table of the report, with what has to be said about it."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """As Markdown."""
        lines = [f"## {self.title}", "", self.note, ""] if self.note else [f"## {self.title}", ""]
        return "\n".join(lines) + "\n" + (markdown(self.header, self.rows) if self.rows else "")


def report(source: str, options: Asked | None = None) -> list[Section]:
    """Everything that can be said of a table.

    Args:
        source: a CSV file of ballots (`participant, scenario, method, place, achieved`), of shares
            by scenario (`scenario, method, win, top3, score, achieved`), of scores (a scenario or
            task, a method or setting, and numbers), of the edit rubric's axes (`method` and those);
            or `table_s1` or `table_s2` of the paper.
        options: what else is asked for.

    Raises:
        SparksError: the table is none of these, or an option does not go with it.
    """
    options, rows = options or Asked(), read_table(source)
    columns = set(rows[0])
    if columns >= set(COLUMNS):
        return list(_of_votes(read_votes(rows, source), options))
    if options.hasty is not None:
        raise SparksError(f"{source} has no ballots, so nobody can be found hasty")
    if columns >= {"scenario", "method", *paper.SHARES} and not options.columns:
        parts = list(_of_counts(paper.read_shares(rows, options.participants), options))
        return [*parts, *_as_printed()] if source == "table_s2" else parts
    if columns >= {"method", "vlm_score", *EDIT.axes}:
        return [_overalls(rows)]
    if is_scores(rows):
        names = options.columns or tuple(numeric(rows))
        return [
            part
            for name in names
            for part in _of_scores(read_scores(rows, name, source), rows, options)
        ]
    raise SparksError(
        f"{source} has the columns {', '.join(columns)}; see sparks stats --help for which it takes"
    )


def as_markdown(parts: Sequence[Section]) -> str:
    """All of them."""
    return "\n".join(part.text for part in parts)


def as_json(parts: Sequence[Section]) -> list[dict[str, Any]]:
    """All of them, each row by its header."""
    return [
        {
            "title": part.title,
            "note": part.note,
            "rows": [dict(zip(part.header, row, strict=True)) for row in part.rows],
        }
        for part in parts
    ]


def _of_votes(votes: Votes, options: Asked) -> Iterator[Section]:
    if options.hasty is not None:
        votes, gone = without_hasty(votes, options.hasty)
        said = f"median ballot below {options.hasty:g} s: {len(gone)} participants left out"
        yield Section("Hasty participants", f"{said} ({', '.join(gone) or 'none'}).", [])
    counts = votes.counts()
    ends = intervals(votes, options.denominator)
    yield _standing(counts, ends, options, "participants and scenarios")
    yield _strengths(votes)
    yield from _tests(counts, options)
    yield _agreement(votes)
    if len(votes.participants) > 1:
        yield _leave_one_out(votes, options)


def _of_counts(counts: Counts, options: Asked) -> Iterator[Section]:
    yield _standing(counts, intervals(counts, options.denominator), options, "scenarios")
    yield from _tests(counts, options)


def _standing(
    counts: Counts, ends: tuple[Standing, Standing], options: Asked, resampled: str
) -> Section:
    mean = counts.standing(None, options.denominator)
    low, high = map(paper.printed, ends)
    rows = [
        [name, *(f"{m} [{a}, {b}]" for m, a, b in zip(*cells, strict=True))]
        for name, *cells in zip(counts.methods, paper.printed(mean), low, high, strict=True)
    ]
    answered = counts.ballots if options.denominator == "all" else counts.answered
    note = (
        f"{counts.ballots.sum():.0f} ballots over {len(counts.scenarios)} scenarios; Achieved of "
        f"{answered.sum():.0f}{'' if options.denominator == 'all' else ' that tick anything'}. "
        f"In brackets 95 % intervals that resample {resampled}."
    )
    header = ["method", "Win %", "Top-3 %", "Score", "Achieved %"]
    return Section("Figures", note, header, sorted(rows, key=_by_score(counts, mean)))


def _by_score(counts: Counts, mean: Standing) -> Any:
    order = {name: -score for name, score in zip(counts.methods, mean.score, strict=True)}
    return lambda row: order[row[0]]


def _strengths(votes: Votes) -> Section:
    fitted = strengths(votes)
    chance = np.exp(fitted.mean) / np.exp(fitted.mean).sum()
    rows = [
        [
            votes.methods[m],
            f"{fitted.mean[m]:.2f} [{fitted.low[m]:.2f}, {fitted.high[m]:.2f}]",
            f"{100 * chance[m]:.1f}",
            f"{fitted.best_rank[m]:.0f} to {fitted.worst_rank[m]:.0f}",
        ]
        for m in np.argsort(-fitted.mean)
    ]
    note = "Plackett-Luce, fitted to every choice: first among all, second among the others, ..."
    return Section("Strengths", note, ["method", "log strength", "chosen first %", "rank"], rows)


def _tests(counts: Counts, options: Asked) -> Iterator[Section]:
    for name in ("score", "achieved"):
        values = getattr(counts.by_scenario(options.denominator), name)
        yield _tested(name.capitalize(), counts.methods, values, options.reference)


def _tested(name: str, methods: Sequence[str], values: Array, reference: str | None) -> Section:
    rows = [
        [each.first, each.second, f"{each.difference:+.3f}", _p(each.p), _p(each.p_holm)]
        for each in sorted(pairs(methods, values, reference), key=lambda pair: pair.p_holm)
    ]
    note = f"{len(values)} scenarios, paired."
    if values.shape[1] >= 3 and len(values) >= 2:
        note = f"Friedman over {len(values)} scenarios: p {_p(friedman(values))}. {note}"
    title = "which methods differ (Wilcoxon, Holm)"
    return Section(
        f"{name}: {title}" if name else title,
        note,
        ["method", "against", "mean difference", "p", "p (Holm)"],
        rows,
    )


def _agreement(votes: Votes) -> Section:
    def flat(values: Array) -> Array:
        return values.reshape(len(votes.participants), -1)

    ticks, points = flat(votes.achieved), flat(votes.points)
    seen = ticks[:, ~np.isnan(ticks).any(0)]
    kappa = fleiss(np.stack([(seen == 0).sum(0), (seen == 1).sum(0)], 1))
    rows = [
        ["Achieved", "Krippendorff's alpha, nominal", _number(krippendorff(ticks, "nominal"))],
        ["Achieved", "Fleiss' kappa, where all were asked", _number(kappa)],
        ["places", "Krippendorff's alpha, ordinal", _number(krippendorff(points, "ordinal"))],
    ]
    note = "Among participants; 1 is perfect, 0 is chance."
    return Section("Agreement", note, ["of", "measure", "value"], rows)


def _leave_one_out(votes: Votes, options: Asked) -> Section:
    others = leave_one_out(votes, options.denominator)
    low, high = paper.printed(others.low), paper.printed(others.high)
    rows = [
        [name, *(f"{a} to {b}" for a, b in zip(lows, highs, strict=True))]
        for name, lows, highs in zip(votes.methods, low, high, strict=True)
    ]
    note = f"The best by Score stays the best in {others.same_best} of {others.participants}."
    header = ["method", "Win %", "Top-3 %", "Score", "Achieved %"]
    return Section("Without any one participant", note, header, rows)


def _as_printed() -> Iterator[Section]:
    again, said = paper.table_2()
    rows = [[name, *map(_beside, again[name], figures)] for name, figures in said.items()]
    cells = [cell for row in rows for cell in row[1:]]
    same = sum("printed" not in cell for cell in cells)
    note = f"Recomputed from Table S2; {same} of {len(cells)} figures are as printed."
    header = ["method", "Win %", "Top-3 %", "Score", "Achieved %"]
    yield Section("Table 2 of the paper", note, header, rows)


def _beside(again: str, said: str) -> str:
    return again if again == said else f"{again} (printed {said})"


def _overalls(rows: Cells) -> Section:
    note = (
        "Overall = 0.35 edit alignment + 0.25 motion quality + 0.20 source preservation + 0.20 "
        "visual quality. Other columns of the table cannot be recomputed from it"
    )
    if all("rank" in row for row in rows):
        total, count = sum(float(row["rank"]) for row in rows), len(rows)
        note += f"; its mean ranks sum to {total:.2f}, {count * (count + 1) // 2} being right"
    lines = [
        [name, f"{again:.2f}", f"{said:.2f}", "" if same else "differs by more than rounding"]
        for name, again, said, same in paper.overalls(rows)
    ]
    return Section("Overall score", f"{note}.", ["method", "recomputed", "printed", ""], lines)


def compared(rows: Sequence[Mapping[str, Any]], column: str) -> Section | None:
    """Which methods differ in a column; None where there are not two methods of two scenarios."""
    if not any(row.get(column) is not None for row in rows):
        return None
    seen = [row for row in rows if row.get(column) is not None]
    try:
        scores = read_scores(seen, column, "the comparison")
    except SparksError:
        return None
    if min(scores.values.shape) < 2:
        return None
    return _tested("", scores.methods, scores.values, None)


def _of_scores(scores: Scores, rows: Cells, options: Asked) -> Iterator[Section]:
    lines = []
    for m, name in enumerate(scores.methods):
        cells = [{"task": str(s), scores.column: v} for s, v in enumerate(scores.values[:, m])]
        figure = estimate(cells, scores.column)
        assert figure is not None
        interval = f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
        lines.append([name, interval, f"{scores.ranks[m]:.2f}"])
    note = (
        f"Means over {len(scores.scenarios)} scenarios that all methods have, with 95 % bootstrap "
        "intervals; rank 1 is the greatest value."
    )
    yield Section(scores.column, note, ["method", "mean", "mean rank"], lines)
    if len(scores.methods) > 1:
        yield _tested(scores.column, scores.methods, scores.values, options.reference)


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
