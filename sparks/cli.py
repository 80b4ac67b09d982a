"""The `sparks` command: parse, call one function, print."""

import contextlib
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sparks.errors import SparksError
from sparks.pocket.cli import app as pocket

INTERRUPTED = 130  # exit code, as shells have it

app = typer.Typer(
    help="Make a video do what its prompt asks, by tuning a frozen audio-video editor.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(pocket, name="pocket")


@app.callback()
def sparks() -> None:
    """Make a video do what its prompt asks, by tuning a frozen audio-video editor."""


@app.command()
def solve(
    video: Annotated[Path | None, typer.Argument(help="Source; bundled task if left out.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What the edit shall show.")] = None,
    static_prompt: Annotated[str | None, typer.Option(help="What the source shows.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What guidance avoids.")] = None,
    solver: Annotated[str | None, typer.Option(help="Name, module:Name or file.py:Name.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder, hub id, or pocket.")] = None,
    critic: Annotated[
        str | None, typer.Option(help="Plugin name, or the model folder or hub id of one.")
    ] = None,
    prefix_frames: Annotated[int | None, typer.Option(help="K: keep the first K frames.")] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="START:END", help="Regenerate these seconds only."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="E.g. qwen_calls=30,wall_clock=600s.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of noise and search, from 0.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="E.g. solver.lr=0.1."),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="YAML, or preset paper, reference."),
    ] = None,
    sound: Annotated[str | None, typer.Option(help="In the edit: source, tuned, none.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Run directory, new or empty."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with this run directory, and nothing else."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Edit VIDEO so that it shows what the prompt says.

    The clip is brought to the shape the model is run with: filled and
    centre-cropped to clip.size, the nearest frames in time at clip.fps, and of
    those the first clip.num_frames, with their sound.

    Ctrl-C finishes the running evaluation and renders the best so far (exit
    code 130); a second one stops at once. --resume goes on after either.
    """
    options = {
        "video": None if video is None else str(video),
        "prompt": prompt,
        "static_prompt": static_prompt,
        "negative_prompt": negative_prompt,
        "solver": solver,
        "model": model,
        "critic": critic,
        "prefix_frames": prefix_frames,
        "window": window,
        "budget": budget,
        "seed": seed,
        "sound": sound,
    }
    # Libraries may print; standard output belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.config import layers
        from sparks.edit import edit, go_on
        from sparks.progress import reporter, summary

        settings = layers(config or [], options, set_ or [])
        if resume is None:
            result = edit(settings, output, reporter())
        elif settings or output is not None:
            raise SparksError(f"{resume} goes on with its own settings; give --resume alone")
        else:
            result = go_on(resume, reporter())
    typer.echo(json.dumps(result) if json_ else summary(result))
    if result["stopped_by"] == "interrupt":
        raise typer.Exit(INTERRUPTED)


@app.command()
def plugins(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List solvers, critics, editors and spaces, and what keeps any from being used."""
    with contextlib.redirect_stdout(sys.stderr):
        from rich.console import Console

        from sparks.plugins import as_table
        from sparks.plugins import plugins as installed

        found = installed()
    if json_:
        typer.echo(json.dumps([asdict(plugin) for plugin in found]))
    else:
        Console().print(as_table(found))


def main() -> None:
    """Run the command; a mistake of the user's is one line and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SparksError as error:
        _refuse(str(error))
    except typer.TyperException as error:  # an option or command that does not exist, and so on
        if message := error.format_message().rstrip("."):
            _refuse(f"{message}; see sparks --help")
        code = error.exit_code  # the help has been shown
    sys.exit(code)


def _refuse(message: str) -> NoReturn:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
