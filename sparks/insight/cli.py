"""The commands of this room: parse, call one function, print."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sparks.files import place

app = typer.Typer()

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def attention(
    run: Annotated[Path, typer.Argument(parser=place, metavar="RUN", help="A finished run.")],
    of: Annotated[
        str, typer.Option(metavar="A,B", help="Of text, sound, text-writes, sound-writes.")
    ] = "text,sound",
    by: Annotated[
        str, typer.Option(metavar="A,B", help="Also apart: word, moment, block, step, head.")
    ] = "word",
    words: Annotated[
        str, typer.Option(metavar="A,B", help="The prompt's words that text counts; all.")
    ] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. device=cpu.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(parser=place, metavar="PATH", help="Folder; RUN/attention by default."),
    ] = None,
    json_: _Json = False,
) -> None:
    """Show where text and sound act in the prompt-only and the tuned edit of RUN.

    Both are rendered once more, and the cross-attention of every block, step
    and head is averaged on the way: text, which places read the prompt's
    words; sound, which places the sound looks at; the same with -writes, how
    much each adds to a place.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.insight.attending import attend
        from sparks.models.quiet import quiet_libraries
        from sparks.runs.progress import reporter
        from sparks.settings.layers import typed

        with quiet_libraries():
            result = attend(
                run,
                typed({}, set_ or []),
                output,
                of=_names(of),
                by=_names(by),
                words=_names(words),
                reporter=reporter(),
            )
    typer.echo(json.dumps(result) if json_ else f"Written to {result['folder']}.")


@app.command("map")
def map_(
    runs: Annotated[
        list[Path],
        typer.Argument(parser=place, metavar="RUNS...", help="Runs, or folders that hold many."),
    ],
    of: Annotated[str, typer.Option(metavar="A,B", help="alpha, delta_v.")] = "alpha,delta_v",
    method: Annotated[str, typer.Option(metavar="A,B", help="pca, tsne, umap.")] = "pca,tsne",
    colour: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Any field, e.g. prompt, asks, config.solver.name."),
    ] = None,
    pairs: Annotated[int, typer.Option(min=0, help="Nearest and farthest ones to draw.")] = 5,
    output: Annotated[
        Path | None, typer.Option(parser=place, metavar="PATH", help="Folder; new by default.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Lay the tuned controls of many RUNS out in two dimensions.

    Writes map.png, and index.html where every point tells what it is and any
    field can be its colour. Distances are cosines in the full space.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.insight.charting import chart, check

        chosen = {"of": _names(of), "methods": _names(method)}
        check(**chosen)
        result = chart(runs, output, **chosen, colour=colour, count=pairs)
    typer.echo(json.dumps(result) if json_ else f"Written to {result['folder']}.")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in (each.strip() for each in text.split(",")) if part)
