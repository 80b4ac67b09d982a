"""The paper's own tables, recomputed from the tables that they summarise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparks.evaluation.judge.rubric import EDIT, TOLERANCE
from sparks.evaluation.statistics.counts import Counts, Standing, counts_from_shares
from sparks.evaluation.statistics.reading import Cells, read_table

PARTICIPANTS = 21
SHARES = ("win", "top3", "score", "achieved")
#: Methods are called otherwise in Table S2 than in Table 2.
CALLED = {
    "LoRA Edit": "LoRA-Edit",
    "VACE (WAN 1.3)": "VACE-Wan",
    "VACE (LTX)": "VACE-LTX",
    "LTX2 Baseline": "LTX2.3 Retake",
    "Runway / Aleph": "Runway-Aleph",
    "Kiwi Edit": "Kiwi-Edit",
    "UniEdit": "UniEdit",
}


def read_shares(rows: Cells, participants: int = PARTICIPANTS) -> Counts:
    """What was counted in a survey of which shares by scenario are printed, as in Table S2.

    Raises:
        SparksError: see `counts_from_shares`.
    """
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    values = np.zeros((len(SHARES), len(scenarios), len(methods)))
    for row in rows:
        place = scenarios.index(row["scenario"]), methods.index(row["method"])
        values[(slice(None), *place)] = [float(row[name]) for name in SHARES]
    return counts_from_shares(scenarios, methods, Standing(*values), participants)


def printed(standing: Standing) -> list[list[str]]:
    """The four figures of each method as Table 2 prints them: percent, and points."""
    rows = zip(*(getattr(standing, name) for name in SHARES), strict=True)
    return [
        [f"{100 * w:.1f}", f"{100 * t:.1f}", f"{s:.2f}", f"{100 * a:.1f}"] for w, t, s, a in rows
    ]


def table_2() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The figures of Table 2 by method: recomputed from Table S2, and as printed."""
    counts = read_shares(read_table("table_s2"))
    names = [CALLED.get(name, name) for name in counts.methods]
    again = dict(zip(names, printed(counts.standing()), strict=True))
    return again, {row["method"]: list(row.values())[1:] for row in read_table("table_2")}


def overalls(rows: Sequence[dict[str, str]]) -> list[tuple[str, float, float, bool]]:
    """Of a table of the edit rubric's axes: method, overall by Eq. 14, as printed, and whether
    they agree."""
    recomputed = []
    for row in rows:
        again = EDIT.overall({name: float(row[name]) for name in EDIT.axes})
        said = float(row["vlm_score"])
        recomputed.append((row["method"], again, said, abs(again - said) <= TOLERANCE))
    return recomputed
