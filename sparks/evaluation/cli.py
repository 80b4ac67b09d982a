"""The commands of this room: parse, call one function, print."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Annotated

import typer

app = typer.Typer()

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def stats(
    table: Annotated[str, typer.Argument(help="CSV file, or table_s1, table_s2 of the paper.")],
    participants: Annotated[
        int, typer.Option(min=1, help="Of a table of shares by scenario.")
    ] = 21,
    achieved_of: Annotated[
        str, typer.Option(metavar="any_tick|all", help="Ballots that Achieved is a share of.")
    ] = "any_tick",
    hasty: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Leave out whose median ballot took less."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Compare with this one; else all pairs.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Of a table of scores; all if left out.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Figures, intervals, tests and agreement of a TABLE of votes, shares or scores.

    Ballots have the columns participant, scenario, method, place (1 to 3 or empty), achieved (0
    or 1), and seconds if measured. Shares by scenario have scenario, method, win, top3, score,
    achieved. Scores have scenario or task, method or setting, and numbers, as cells.csv does.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.errors import SparksError
        from sparks.evaluation.statistics.report import Asked, as_json, as_markdown, report

        if achieved_of not in ("any_tick", "all"):
            raise SparksError(f"--achieved-of is {achieved_of!r}; say any_tick or all")
        columns = tuple(column or ())
        asked = Asked(participants, achieved_of, hasty, reference, columns)  # type: ignore[arg-type]
        parts = report(table, asked)
    typer.echo(json.dumps(as_json(parts)) if json_ else as_markdown(parts))
