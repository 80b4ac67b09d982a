"""The commands of this room: parse, call one function, print."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sparks.errors import SparksError, printable
from sparks.files import place

app = typer.Typer()

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def pick(
    run: Annotated[Path, typer.Argument(parser=place, metavar="RUN", help="Run directory.")],
    index: Annotated[
        int | None, typer.Argument(min=1, help="The evaluation, from 1; all are listed without.")
    ] = None,
    render: Annotated[
        str | None,
        typer.Option(metavar="A,B,..", help="Only render these evaluations into RUN/picks."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=NAME", help="Code that the run needs."),
    ] = None,
    json_: _Json = False,
) -> None:
    """Make evaluation INDEX of RUN the edit, whatever its score: RUN/picked.mp4.

    The search must have kept it: solve --keep all. What the search chose stays beside it.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.runs import picking
        from sparks.runs.progress import reporter
        from sparks.settings.layers import typed

        named = typed({}, set_ or [])
        if index is not None and render is not None:
            raise SparksError("give INDEX to pick one, or --render to look at some, not both")
        if index is not None:
            picked = picking.pick(run, index, reporter(), named)
            content, words = picked, _picked(picked)
        else:
            if render is not None:
                picking.render(run, _numbers(render), reporter(), named)
            content = {"run_dir": str(run), "evaluations": picking.candidates(run)}
            words = _listed(content["evaluations"])
    typer.echo(json.dumps(content) if json_ else printable(words))


@app.command()
def studio(
    runs: Annotated[
        Path, typer.Argument(parser=place, metavar="RUNS", help="The folder of all runs.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 8040,
    address: Annotated[str, typer.Option(help="Of this machine; others need a token.")] = (
        "127.0.0.1"
    ),
    token: Annotated[
        str | None,
        typer.Option(envvar="SPARKS_TOKEN", help="What everyone must know; made if need be."),
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="A name that the server is reached by.")
    ] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="A,B", help="cpu, cuda:0, ...; every GPU by default.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to choose besides those found here.")
    ] = None,
) -> None:
    """Make edits in the browser, watch them, compare them, pick by eye.

    Edits are processes of their own: they go on when the page is closed and when the server ends,
    and what waits is started by the next server on RUNS. Ctrl-C ends the server.
    """
    try:
        from sparks.studio.edits.serving import serve_studio
    except ModuleNotFoundError as error:
        raise SparksError(
            f"the studio needs {error.name}: pip install 'sound-sparks[studio]'"
        ) from error
    chosen = [name.strip() for name in devices.split(",")] if devices else None
    serve_studio(runs, address, port, token, tuple(host or ()), chosen, tuple(model or ()))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise SparksError(f"--render {text!r} is no list of evaluations, e.g. 3,7,12") from None


def _picked(picked: dict[str, object]) -> str:
    p_yes = picked["p_yes"]
    said = f"P(yes) {p_yes:.3f}" if isinstance(p_yes, float) else "no number"
    return (
        f"Evaluation {picked['evaluation']} is the edit now; the critic says {said}.\n"
        f"Written to {picked['run_dir']}/picked.mp4, its controls to picked.safetensors."
    )


def _listed(evaluations: list[dict[str, object]]) -> str:
    marks = ("best", "kept", "rendered", "picked")
    lines = ["evaluation  P(yes)     total"]
    for row in evaluations:
        numbers = "  ".join(
            f"{value:8.4f}" if isinstance(value, float) else "no number"
            for value in (row["p_yes"], row["total"])
        )
        told = ", ".join(mark for mark in marks if row[mark])
        lines.append(f"{row['evaluation']:>10}{numbers}  {told}".rstrip())
    return "\n".join(lines)
