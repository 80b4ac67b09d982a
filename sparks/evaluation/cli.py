"""The commands of this room: parse, call one function, print."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def measure(
    what: Annotated[Path, typer.Argument(metavar="EDIT|RUN", help="Video, or run directory.")],
    source: Annotated[Path | None, typer.Option(help="The video that was edited.")] = None,
    metrics: Annotated[
        str, typer.Option(metavar="A,B", help="Groups or names; see sparks plugins.")
    ] = "all",
    prompt: Annotated[str | None, typer.Option(help="What the edit shall show.")] = None,
    static_prompt: Annotated[str | None, typer.Option(help="What the source shows.")] = None,
    kept: Annotated[
        int, typer.Option(min=0, help="Frames from the first that were to stay as they are.")
    ] = 0,
    model: Annotated[
        str | None, typer.Option(help="Folder, hub id or pocket: its own LPIPS and CLIP.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="WHAT=WHICH", help="lpips, clip, sam2 or mask=VIDEO."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file, curves included.")] = None,
    json_: _Json = False,
) -> None:
    """Measure an edit beside its source: motion, steadiness, preservation, sound, likeness, text.

    A source of another size, rate or length is brought to the edit's, and what was changed is
    said. Of a RUN, edit and prompt-only render are measured, and metrics.json is written into it.
    What cannot be measured here is listed with what is missing.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.evaluation.metrics.command import as_markdown, measure_files
        from sparks.models.quiet import quiet_libraries

        told = {"prompt": prompt, "static_prompt": static_prompt, "kept": kept, "model": model}
        with quiet_libraries():
            measured, said = measure_files(
                what, source, metrics, using=with_ or (), output=output, **told
            )
    if json_:
        typer.echo(json.dumps({name: one.as_json() for name, one in measured.items()}))
    else:
        typer.echo(as_markdown(measured, said))


@app.command()
def judge(
    comparison: Annotated[Path, typer.Argument(help="Folder of sparks compare.")],
    backend: Annotated[str, typer.Option(help="openai, local, recorded or pocket.")] = "pocket",
    model: Annotated[
        str | None, typer.Option(help="Of the server; or folder, hub id; or file of answers.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible server, e.g. http://HOST:8000/v1.")
    ] = None,
    rubric: Annotated[str, typer.Option(help="edit or modality, as the paper has them.")] = "edit",
    orders: Annotated[
        str, typer.Option(metavar="both|balanced", help="Every repeat both ways, or turned on.")
    ] = "both",
    repeats: Annotated[int, typer.Option(min=1, help="Of each order.")] = 1,
    frames: Annotated[int, typer.Option(min=1, help="Shown of each video.")] = 8,
    seed: Annotated[int, typer.Option(help="Of names and orders.")] = 0,
    instructions: Annotated[
        Path | None, typer.Option(help="Text to tell the judge instead of ours.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Have the edits of a COMPARISON scored, ranked and compared in pairs.

    Everything asked and answered is kept in COMPARISON/judge/calls, and nothing is asked twice.
    judge.csv there goes into sparks stats.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.evaluation.judge.command import judge_folder

        result, text = judge_folder(
            comparison,
            backend,
            model,
            base_url,
            rubric=rubric,
            orders=orders,
            repeats=repeats,
            num_frames=frames,
            seed=seed,
            instructions=instructions,
        )
    typer.echo(json.dumps(result) if json_ else text)


@app.command()
def compare(
    layout: Annotated[Path, typer.Argument(help="YAML: methods, scenarios, metrics, judge.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder; gone on with if it holds this comparison.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Workers that measure.")] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="EXECUTOR", help="processes, submitit, ray or module:Name."),
    ] = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", metavar="KEY=VALUE", help="Of --on.")
    ] = None,
) -> None:
    """Lay edits of several methods side by side: measure, judge, test and show them.

    Videos of other methods are brought to the size, rate and length of ours, and what was changed
    is said. Started again with the same output, it goes on where it stopped.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.evaluation.comparison.comparing import compare as run
        from sparks.models.quiet import quiet_libraries
        from sparks.runs.folder import new_folder
        from sparks.settings.executor import build_executor

        executor = build_executor(on, jobs, with_ or ())
        folder = output or new_folder(f"compare-{layout.stem}")
        with quiet_libraries():
            text = run(layout, folder, executor)
    typer.echo(f"{text}\nWritten to {folder}; see index.html there.")


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
        options = Asked(participants, achieved_of, hasty, reference, columns)  # type: ignore[arg-type]
        parts = report(table, options)
    typer.echo(json.dumps(as_json(parts)) if json_ else as_markdown(parts))
