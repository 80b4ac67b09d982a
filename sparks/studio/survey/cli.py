"""`sparks survey`: ask people which edits are the best."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sparks.files import place

INVITATIONS = 20

app = typer.Typer(help="Ask people which edits are the best.", no_args_is_help=True)

_Study = Annotated[
    Path, typer.Argument(parser=place, metavar="STUDY", help="Folder of sparks survey make.")
]
_Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="How participants reach it: https://study.example.org."),
]


@app.callback()
def survey() -> None:
    """Ask people which edits are the best."""


@app.command()
def make(
    comparison: Annotated[
        Path, typer.Argument(parser=place, metavar="COMPARISON", help="Folder of sparks compare.")
    ],
    output: Annotated[
        Path | None, typer.Option(parser=place, metavar="PATH", help="A new folder.")
    ] = None,
    methods: Annotated[
        str, typer.Option(metavar="A,B", help="To ask about; all if left out.")
    ] = "",
    invitations: Annotated[
        int | None, typer.Option(min=1, help=f"Links, one a participant; {INVITATIONS}.")
    ] = None,
    open_: Annotated[
        int | None,
        typer.Option("--open", min=1, metavar="LIMIT", help="One link, for so many participants."),
    ] = None,
    scenarios: Annotated[
        int | None, typer.Option(min=1, help="For each participant; all if left out.")
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=2, max=8, help="On a page at most; of more, some are drawn.")
    ] = 8,
    title: Annotated[str | None, typer.Option(help="Else the comparison's.")] = None,
    consent: Annotated[
        Path | None, typer.Option(parser=place, metavar="FILE", help="Text of the first page.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Above the videos of every page.")] = None,
    thanks: Annotated[
        str | None, typer.Option(help="Text of the last page; a code for a crowd site.")
    ] = None,
    attention: Annotated[bool, typer.Option(help="One page that asks for certain letters.")] = True,
    hasty: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="A median answer below is hasty.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the orders.")] = 0,
) -> None:
    """Make a study of a COMPARISON: its scenarios, with all edits under letters.

    Videos are written anew, all alike, under names that say nothing.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.models.quiet import quiet_libraries
        from sparks.studio.survey.making import make as run
        from sparks.studio.survey.making import read_consent
        from sparks.studio.survey.study import read_study

        if invitations is None and open_ is None:
            invitations = INVITATIONS
        with quiet_libraries():
            folder = run(
                comparison,
                output,
                methods=[name.strip() for name in methods.split(",") if name.strip()],
                invitations=invitations or 0,
                limit=open_ or 0,
                per_participant=scenarios,
                candidates=candidates,
                title=title,
                consent=None if consent is None else read_consent(consent),
                question=question,
                thanks=thanks,
                attention=attention,
                hasty=hasty,
                seed=seed,
            )
    typer.echo(
        f"{read_study(folder).text}\nWritten to {folder}; next: sparks survey serve {folder}"
    )


@app.command()
def serve(
    study: _Study,
    address: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8050,
    url: _Url = None,
) -> None:
    """Show STUDY to those who have a link of it, and its counts to you.

    It can be stopped and started again at any time: answers are on the disk before a participant
    is told so.
    """
    from sparks.errors import SparksError

    try:
        from sparks.studio.survey.app import serve_study
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "jinja2", "starlette", "uvicorn"):
            raise
        raise SparksError(
            f"a survey needs {error.name}; pip install 'sound-sparks[studio]'"
        ) from error
    serve_study(study, address, port, url)


@app.command()
def links(
    study: _Study,
    url: _Url = None,
    more: Annotated[
        int, typer.Option(min=0, metavar="N", help="Make so many more invitations.")
    ] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Links of STUDY as a table: for how many participants each is, how many came by it."""
    from sparks.evaluation.statistics.tables import csv_text
    from sparks.studio.survey.ballots import Ballots
    from sparks.studio.survey.export import invited
    from sparks.studio.survey.study import read_study

    read_study(study)
    with Ballots(study) as ballots:
        ballots.add_links(more)
        rows = invited(ballots, (url or "http://127.0.0.1:8050").rstrip("/"))
    typer.echo(json.dumps(rows) if json_ else csv_text(rows), nl=json_)


@app.command()
def status(
    study: _Study,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How far STUDY is and how carefully it is answered; not who leads."""
    from sparks.studio.survey.ballots import Ballots
    from sparks.studio.survey.quality import quality
    from sparks.studio.survey.study import read_study

    given = read_study(study)
    with Ballots(study) as ballots:
        told = quality(given, ballots)
        ended = ballots.ended is not None
    typer.echo(json.dumps(told.as_json() | {"ended": ended}) if json_ else told.text)


@app.command()
def close(study: _Study) -> None:
    """End STUDY for good: nobody can answer any more, and its tables can be read."""
    from sparks.studio.survey.ballots import Ballots
    from sparks.studio.survey.study import read_study

    read_study(study)
    with Ballots(study) as ballots:
        ballots.end()
    typer.echo(f"{study} has ended; next: sparks survey export {study}")


@app.command()
def export(
    study: _Study,
    output: Annotated[
        Path | None,
        typer.Option(parser=place, metavar="PATH", help="Folder; that of the study if left out."),
    ] = None,
    attentive: Annotated[
        bool, typer.Option("--attentive", help="Leave out who failed the attention check.")
    ] = False,
) -> None:
    """Write the answers of an ended STUDY as tables: votes.csv goes into sparks stats."""
    from sparks.studio.survey.export import export as run

    typer.echo(run(study, output, attentive=attentive).text)
