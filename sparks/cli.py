"""The `sparks` command: parse, call one function, print."""

import atexit
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from sparks.errors import SparksError, printable, shorten
from sparks.evaluation.cli import app as evaluation
from sparks.files import place
from sparks.garbage import no_collection
from sparks.insight.cli import app as insight
from sparks.pocket.cli import app as pocket
from sparks.studio.cli import app as studio
from sparks.studio.survey.cli import app as survey
from sparks.terminal import open_streams

INTERRUPTED = 130  # exit code, as shells have it

app = typer.Typer(
    help="Make a video do what its prompt asks, by tuning a frozen audio-video editor.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(pocket, name="pocket")
app.add_typer(survey, name="survey")
app.add_typer(evaluation)  # its commands beside those below
app.add_typer(studio)
app.add_typer(insight)


@app.callback()
def sparks() -> None:
    """Make a video do what its prompt asks, by tuning a frozen audio-video editor."""


_Solver = Annotated[str | None, typer.Option(help="Name, module:Name or file.py:Name.")]
_Model = Annotated[str | None, typer.Option(help="Folder, hub id, or pocket.")]
_Critic = Annotated[
    str | None,
    typer.Option(
        "--critic", "--critic-model", help="Plugin name, or the model folder or hub id of one."
    ),
]
_Budget = Annotated[str | None, typer.Option(help="E.g. qwen_calls=30,wall_clock=600s.")]
_Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. solver.lr=0.1.")
]
_Config = Annotated[
    list[str] | None, typer.Option(metavar="FILE", help="YAML, or a preset: paper, distilled, ...")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check and say what would be done; load nothing.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Tasks = Annotated[
    str | None,
    typer.Option(help="pocket12 (default), pocket25, dev40, test40, ..., or a YAML file."),
]
_Seeds = Annotated[int | None, typer.Option(min=1, help="Of each task, counted up from --seed.")]
_First = Annotated[
    int | None, typer.Option(min=0, help="The first noise seed; by default the list's, else 42.")
]
_Jobs = Annotated[
    int | None, typer.Option(min=1, help="Workers; of --on processes by default one for each GPU.")
]
_On = Annotated[
    str | None,
    typer.Option(metavar="EXECUTOR", help="processes, submitit, ray or module:Name."),
]
_With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="KEY=VALUE", help="Of --on, e.g. slurm_partition=gpu."),
]
_Metrics = Annotated[
    str | None,
    typer.Option("--metrics", metavar="A,B", help="Groups or names; all: every installed one."),
]
_Sheets = Annotated[bool, typer.Option("--sheets", help="Also write contact sheets (PNG).")]
_Folder = Annotated[
    Path | None,
    typer.Option(
        parser=place,
        metavar="PATH",
        help="Gone on with if it holds an experiment; default in runs.",
    ),
]

_Video = Annotated[
    Path | None,
    typer.Argument(parser=place, metavar="VIDEO", help="Source; bundled task if left out."),
]
_Prompt = Annotated[str | None, typer.Option(help="What the edit shall show.")]
_StaticPrompt = Annotated[str | None, typer.Option(help="What the source shows.")]
_PrefixFrames = Annotated[int | None, typer.Option(help="K: keep the first K frames.")]
_Window = Annotated[
    str | None, typer.Option(metavar="START:END", help="Regenerate these seconds only.")
]


@app.command()
def solve(
    video: _Video = None,
    prompt: _Prompt = None,
    static_prompt: _StaticPrompt = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What guidance avoids.")] = None,
    solver: _Solver = None,
    model: _Model = None,
    critic: _Critic = None,
    prefix_frames: _PrefixFrames = None,
    window: _Window = None,
    budget: _Budget = None,
    seed: Annotated[int | None, typer.Option(help="Of noise and search, from 0.")] = None,
    set_: _Set = None,
    config: _Config = None,
    screen: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Look first, and search only if the chance is this at least."
        ),
    ] = None,
    sound: Annotated[str | None, typer.Option(help="In the edit: source, tuned, none.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(parser=place, metavar="PATH", help="Run directory, new or empty."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(parser=place, metavar="RUN", help="Go on with this run, as it was begun."),
    ] = None,
    preview_every: Annotated[
        int | None, typer.Option(metavar="N", help="Write the best so far into previews/.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="all|best|N", help="Controls of evaluations, to pick from by eye."),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            parser=place, metavar="FILE", help="Repeat the edit that made this mp4 or safetensors."
        ),
    ] = None,
    dry_run: _DryRun = False,
    json_: _Json = False,
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
        "screen": screen,
        "sound": sound,
        "preview_every": preview_every,
        "keep": keep,
    }
    # Libraries may print; standard output belongs to the result.
    with contextlib.redirect_stdout(sys.stderr):
        with no_collection():
            from sparks.runs.edit import edit, go_on
            from sparks.runs.progress import reporter, summary
            from sparks.runs.recipes import repeat
            from sparks.settings.layers import layers, typed

        said = typed(options, set_ or [])
        before = {str(recipe): repeat(recipe, said.get("video"))} if recipe else {}
        settings = layers(config or [], options, set_ or [], before)
        if dry_run and resume is not None:
            raise SparksError(f"{resume} has begun; --dry-run is for what has not")
        if dry_run:
            from sparks.runs.rehearsal import describe, rehearse

            rehearsed = rehearse(settings, output)
        elif resume is None:
            result = edit(settings, output, reporter())
        elif output is not None:
            raise SparksError(f"{resume} is where the run is; give --resume without --output")
        else:
            result = go_on(resume, reporter(), settings)
    if dry_run:
        typer.echo(json.dumps(rehearsed) if json_ else printable(describe(rehearsed)))
        return
    typer.echo(json.dumps(result.json()) if json_ else printable(summary(result)))
    if result.stopped_by == "interrupt":
        raise typer.Exit(INTERRUPTED)


@app.command()
def screen(
    video: _Video = None,
    prompt: _Prompt = None,
    static_prompt: _StaticPrompt = None,
    solver: _Solver = None,
    model: _Model = None,
    critic: _Critic = None,
    prefix_frames: _PrefixFrames = None,
    window: _Window = None,
    seed: Annotated[int | None, typer.Option(help="Of noise and search, from 0.")] = None,
    set_: _Set = None,
    config: _Config = None,
    output: Annotated[
        Path | None,
        typer.Option(parser=place, metavar="PATH", help="Write verdict and pictures there."),
    ] = None,
    json_: _Json = False,
) -> None:
    """Say whether an edit of VIDEO is worth its search, from a few renders.

    The prompt alone under several noises, one gradient, a step along it and a
    handful of draws; nothing is tuned. The probability is learnt on the bundled
    model, and a guess for others.
    """
    options = {
        "video": None if video is None else str(video),
        "prompt": prompt,
        "static_prompt": static_prompt,
        "solver": solver,
        "model": model,
        "critic": critic,
        "prefix_frames": prefix_frames,
        "window": window,
        "seed": seed,
    }
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.runs.progress import reporter
        from sparks.runs.screening.screen import screen as look
        from sparks.runs.screening.verdict import describe
        from sparks.settings.layers import layers

        verdict = look(layers(config or [], options, set_ or []), output, reporter())
    typer.echo(json.dumps(verdict.json()) if json_ else printable(describe(verdict)))
    if output is not None and not json_:
        typer.echo(f"Written to {output}: screen.json, screen.txt, looks.png")


@app.command()
def transfer(
    run: Annotated[
        Path,
        typer.Argument(
            parser=place, metavar="RUN", help="Run directory, its best.safetensors, or owner/name."
        ),
    ],
    video: Annotated[
        Path | None, typer.Option(parser=place, metavar="PATH", help="Bundled task if left out.")
    ] = None,
    prompt: _Prompt = None,
    static_prompt: Annotated[str | None, typer.Option(help="What the video shows.")] = None,
    model: _Model = None,
    critic: _Critic = None,
    set_: _Set = None,
    output: Annotated[
        Path | None, typer.Option(parser=place, metavar="PATH", help="Directory, new or empty.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Edit another video with the controls that RUN has tuned; nothing is searched.

    Everything else is as it was in RUN, which may be controls that someone has
    shared on the hub. gap.png shows, frame by frame, how near the video is to
    the prompt and to the static prompt, and the gap between the two.
    """
    options = {"prompt": prompt, "static_prompt": static_prompt, "model": model, "critic": critic}
    options["video"] = None if video is None else str(video)
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.runs.progress import reporter
        from sparks.runs.transfer import transfer as render
        from sparks.settings.layers import layers

        result = render(run, layers([], options, set_ or []), output, reporter())
    words = (
        f"P(yes) {result['p_yes_transfer']:.3f} with the controls, {result['p_yes_baseline']:.3f} "
        f"without.\nWritten to {result['run_dir']}; gap.png shows it frame by frame."
    )
    typer.echo(json.dumps(result) if json_ else printable(words))


@app.command()
def export(
    run: Annotated[
        Path,
        typer.Argument(parser=place, metavar="RUN", help="Run directory, or its best.safetensors."),
    ],
    format_: Annotated[str, typer.Option("--format", help="comfy, safetensors or card.")],
    model: _Model = None,
    set_: _Set = None,
    output: Annotated[
        Path | None, typer.Option(parser=place, metavar="PATH", help="Directory, new or empty.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Write the controls that RUN has tuned for others to open.

    comfy: context and sound as ComfyUI's nodes read them. safetensors: what
    sparks transfer reads, without paths of this machine. card: that, with a
    model card and previews, as a folder for the hub.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.runs.progress import reporter
        from sparks.runs.sharing.export import export as write
        from sparks.settings.layers import layers

        written = write(run, format_, output, layers([], {"model": model}, set_ or []), reporter())
    words = f"Written to {written['folder']}: {', '.join(written['files'])}"
    typer.echo(json.dumps(written) if json_ else printable(words))


_Run = Annotated[Path, typer.Argument(parser=place, metavar="RUN", help="Run directory.")]


@app.command()
def watch(
    run: Annotated[
        Path, typer.Argument(parser=place, metavar="RUN", help="Run directory, or experiment.")
    ],
) -> None:
    """Show how the search of RUN goes, from any terminal, until it is over.

    Of the folder of a bench or an ablation: what is done, what runs where, what
    has failed and why, and how long the rest may take.
    """
    if (run / "plan.json").is_file():
        from sparks.experiments.progress import watch as show_all

        show_all(run)
    else:
        from sparks.runs.watch import watch as show

        show(run)


@app.command()
def report(run: _Run) -> None:
    """Write RUN/index.html with all that there is of RUN by now."""
    from sparks.runs.report import report as write

    typer.echo(f"Written to {write(run)}")


@app.command()
def bench(
    tasks: _Tasks = None,
    seeds: _Seeds = None,
    seed: _First = None,
    solver: _Solver = None,
    model: _Model = None,
    critic: _Critic = None,
    budget: _Budget = None,
    set_: _Set = None,
    config: _Config = None,
    jobs: _Jobs = None,
    on: _On = None,
    with_: _With = None,
    output: _Folder = None,
    promising: Annotated[
        bool, typer.Option("--promising", help="Look at each first; begin with the likeliest.")
    ] = False,
    sheets: _Sheets = False,
    metrics: _Metrics = None,
    dry_run: _DryRun = False,
    json_: _Json = False,
) -> None:
    """Edit a list of tasks with one configuration and measure the edits.

    Started again with the same output, it goes on where it stopped; with
    nothing but the output, it writes tables and page again.
    """
    options = {"solver": solver, "model": model, "critic": critic, "budget": budget}
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.experiments.requests import Request, bench_plan
        from sparks.settings.layers import layers

        base = layers(config or [], options, set_ or [])
        plan = bench_plan(Request(base, tasks, seeds, seed, output))
        where = (on, jobs, with_ or ())
        text = _experiment("bench", plan, output, where, sheets, metrics, json_, dry_run, promising)
    typer.echo(text)


@app.command()
def ablate(
    axis: Annotated[
        str | None, typer.Argument(help="solvers, modality, critic, ..., or a YAML file.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--solvers", "--only", metavar="A,B", help="Settings of the axis."),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(metavar="COUNTERS", help="E.g. qwen_calls,wall_clock or wall_clock:1 seed."),
    ] = None,
    tasks: _Tasks = None,
    seeds: _Seeds = None,
    seed: _First = None,
    solver: _Solver = None,
    model: _Model = None,
    critic: _Critic = None,
    budget: _Budget = None,
    set_: _Set = None,
    config: _Config = None,
    jobs: _Jobs = None,
    on: _On = None,
    with_: _With = None,
    output: _Folder = None,
    sheets: _Sheets = False,
    metrics: _Metrics = None,
    dry_run: _DryRun = False,
    json_: _Json = False,
) -> None:
    """Compare settings that differ along one AXIS over a list of tasks.

    The first setting runs on the budget; with --match, each of the others on
    what the first spent on the same task. Started again with the same output,
    it goes on where it stopped; without an axis, it writes tables and page again.
    """
    options = {"solver": solver, "model": model, "critic": critic, "budget": budget}
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.experiments.requests import Request, ablate_plan
        from sparks.settings.layers import layers

        base = layers(config or [], options, set_ or [])
        request = Request(base, tasks, seeds, seed, output)
        plan = ablate_plan(request, axis, only.split(",") if only else (), match)
        name = f"ablate-{Path(axis or '').stem}"
        where = (on, jobs, with_ or ())
        text = _experiment(name, plan, output, where, sheets, metrics, json_, dry_run)
    typer.echo(text)


@app.command()
def work(
    folder: Annotated[
        Path, typer.Argument(parser=place, metavar="FOLDER", help="Of a bench or an ablation.")
    ],
    jobs: _Jobs = None,
    on: _On = None,
    with_: _With = None,
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Code that the plan may run: module:Name, file.py:Name."),
    ] = None,
    stale: Annotated[
        float, typer.Option(min=1, help="Seconds without a sign of life that end a claim.")
    ] = 120.0,
    again: Annotated[bool, typer.Option("--again", help="Also retry what has failed.")] = False,
) -> None:
    """Make edits that FOLDER has planned and nobody is at, until none is left.

    Start it as often as you like, on as many machines as share the folder. A
    worker that dies loses nothing: another goes on with its edit. Tables are
    written by sparks bench --output FOLDER.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.experiments.bench import work_on
        from sparks.settings.executor import build_executor

        done = work_on(folder, build_executor(on, jobs, with_ or ()), code or (), stale, again)
    typer.echo(done)


def _experiment(
    name: str,
    plan: Any,
    output: Path | None,
    where: tuple[str | None, int | None, Sequence[str]],
    sheets: bool,
    metrics: str | None,
    as_json: bool,
    dry_run: bool,
    promising: bool = False,
) -> str:
    from sparks.experiments.bench import check_plan, run_experiment
    from sparks.experiments.requests import describe, rehearse
    from sparks.runs.folder import new_folder
    from sparks.settings.executor import build_executor

    executor = build_executor(*where)
    if dry_run:
        rehearsed = rehearse(plan, output)
        return json.dumps(rehearsed) if as_json else printable(describe(rehearsed))
    if plan is not None:
        check_plan(plan)  # before a folder is made for it
    folder = output or new_folder(name)
    text = run_experiment(
        folder, plan, executor=executor, sheets=sheets, metrics=metrics, promising=promising
    )
    if as_json:
        return (folder / "table.json").read_text(encoding="utf-8")
    return printable(f"{text}\nWritten to {folder}; see index.html there.")


@app.command()
def doctor(model: _Model = None, critic: _Critic = None, json_: _Json = False) -> None:
    """Say what this machine has, which models are on it, and what would fit."""
    with contextlib.redirect_stdout(sys.stderr):
        from sparks.runs.doctor import describe, examine

        findings = examine(model, critic)
    typer.echo(json.dumps(findings) if json_ else printable(describe(findings)))


@app.command()
def plugins(
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List the plugins of every kind, and what keeps any from being used."""
    with contextlib.redirect_stdout(sys.stderr):
        from rich.console import Console

        from sparks.plugins import as_table
        from sparks.plugins import plugins as installed

        installed_plugins = installed()
    if json_:
        typer.echo(json.dumps([asdict(plugin) for plugin in installed_plugins]))
    else:
        Console().print(as_table(installed_plugins))


def main() -> None:
    """Run the command; a mistake of the user's is one line and exit code 2."""
    open_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    atexit.register(gc.freeze)  # a last look for garbage in all that was imported takes a second
    try:
        os.getcwd()  # some libraries abort where there is none
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SparksError as error:
        if os.environ.get("SPARKS_DEBUG"):
            raise
        _refuse(str(error))
    except OSError as error:  # a path that cannot be, wherever it was first used
        if os.environ.get("SPARKS_DEBUG") or not error.strerror:
            raise
        where = "the current folder" if error.filename is None else shorten(error.filename)
        _refuse(printable(f"{where}: {error.strerror}; give another path"))
    except typer.TyperException as error:  # an option or command that does not exist, and so on
        if message := error.format_message().rstrip("."):
            _refuse(f"{message}; see sparks --help")
        code = error.exit_code  # the help has been shown
    sys.exit(code)


def _refuse(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
