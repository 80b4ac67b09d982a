"""`sparks pocket`: train the bundled model and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The bundled model: train it, measure it.", no_args_is_help=True)


@app.callback()
def pocket() -> None:
    """The bundled model: train it, measure it."""


@app.command()
def train(
    output: Annotated[Path, typer.Option(help="Model folder to write.")] = Path("pocket-model"),
    stages: Annotated[str, typer.Option(help="Comma separated; all by default.")] = "",
    work: Annotated[Path | None, typer.Option(help="Folder for training states.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    scale: Annotated[float, typer.Option(min=0.0, help="Multiplies all step counts.")] = 1.0,
    minutes: Annotated[float, typer.Option(min=0.01, help="At most, per stage.")] = float("inf"),
    clips: Annotated[int, typer.Option(min=1, help="Encoded for the denoiser.")] = 80_000,
    batch: Annotated[float, typer.Option(min=0.0, help="Multiplies all batch sizes.")] = 1.0,
    warm: Annotated[
        bool, typer.Option("--warm", help="Denoiser and critics start from the folder's weights.")
    ] = False,
    edits: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of bench or ablate whose edits critics learn from; repeatable."),
    ] = None,
) -> None:
    """Train the model's parts, stage by stage; run again to go on where it stopped."""
    import torch

    from sparks.pocket.training.finished import read_finished
    from sparks.pocket.training.parallel import join, rank
    from sparks.pocket.training.stages import STAGES, Training
    from sparks.pocket.training.stages import train as run

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    own = join(torch.device(device))
    finished = read_finished(edits) if edits else None
    if finished and rank() == 0:
        typer.echo(f"{len(finished)} videos of finished edits", err=True)
    training = Training(
        output=output,
        work=work or output.with_name(output.name + ".work"),
        device=own,
        seed=seed,
        scale=scale,
        minutes=minutes,
        clips=clips,
        batch=batch,
        warm=warm,
        finished=finished,
    )
    run(training, stages.split(",") if stages else tuple(STAGES))


@app.command()
def measure(
    model: Annotated[
        Path | None, typer.Option(help="Model folder; the bundled one by default.")
    ] = None,
    stages: Annotated[str, typer.Option(help="Comma separated; all by default.")] = "",
    count: Annotated[int, typer.Option(min=12, help="Held-out clips per stage.")] = 96,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Print each stage's acceptance figures, measured on held-out clips."""
    import json

    from sparks.models.quiet import quiet_libraries
    from sparks.pocket import weights_path
    from sparks.pocket.training.acceptance import acceptance

    figures = {}
    with quiet_libraries():
        wanted = stages.split(",") if stages else []
        for stage, measured in acceptance(model or weights_path(), wanted, count):
            figures[stage] = measured
            for name, value in measured.items() if not as_json else ():
                typer.echo(f"{stage:14s} {name:45s} {value:.3f}")
    if as_json:
        typer.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    app()
