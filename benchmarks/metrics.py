"""Which metrics can be trusted: on clips with known flaws, and on edits whose truth is measured.

    python benchmarks/metrics.py                        # clips of the world, each flaw put in
    python benchmarks/metrics.py FOLDER                 # edits of `sparks bench` or `sparks ablate`

The first table has, for each figure, the area under the ROC curve of every question: 0.5 is chance,
1 and 0 are perfect either way. The second has the area for "happened" and "broken" (not
continuous), and Kendall's tau with the strength of the motion and with the change outside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sparks.evaluation.metrics.measuring import choose, figures, measure
from sparks.evaluation.metrics.pairs import read_pair
from sparks.evaluation.statistics.ranking import kendall, roc_area
from sparks.evaluation.statistics.reading import read_table
from sparks.evaluation.statistics.scores import as_number
from sparks.evaluation.statistics.tables import markdown
from sparks.media.clip import Clip
from sparks.models.quiet import quiet_libraries
from sparks.models.weights import weights_path
from sparks.pocket import world
from sparks.pocket.training.loop import generator
from sparks.pocket.training.shown import deceive
from sparks.pocket.words import MOVING
from sparks.search.metrics import Edited

SEED = 20271126  # no training stage draws from it
KEPT = 3
LATE = 4  # frames that the sound comes too early
#: Question -> the kinds where the answer is yes, and those where it is no.
QUESTIONS = {
    "happened": (("honest",), ("weak", "frozen")),
    "dissolved": (("dissolve",), ("honest",)),
    "teleported": (("teleport",), ("honest",)),
    "inserted": (("inserted",), ("honest",)),
    "colours drift": (("drift",), ("honest",)),
    "camera moves": (("camera",), ("honest",)),
    "flickers": (("flicker",), ("honest",)),
    "sound too early": (("early",), ("honest",)),
}
Row = dict[str, float | None]


def flawed(scenes: world.Scenes) -> Iterator[tuple[str, Tensor]]:
    """Kinds of edits of idle scenes: what the scenes do, and the same with one flaw each."""
    rng = generator(0, torch.device("cpu"), 5)
    for kind in ("honest", "weak", "frozen", "dissolve", "teleport"):
        yield kind, deceive(scenes, "none" if kind == "honest" else kind, rng)
    honest = deceive(scenes, "none", rng)
    time = torch.linspace(0, 1, world.NUM_FRAMES)[:, None, None, None]
    warm = torch.tensor([0.06, 0.0, -0.06])[:, None, None]
    yield "drift", (honest + time * warm).clamp(0, 1)
    steps = range(world.NUM_FRAMES)
    yield "camera", torch.stack([honest[:, t].roll(t // 2, dims=-1) for t in steps], 1)
    sign = torch.tensor([(-1.0) ** t for t in steps])[:, None, None, None]
    yield "flicker", (honest + 0.02 * sign).clamp(0, 1)
    inserted = honest.clone()
    inserted[:, 12:, :, 4:20, 4:20] = torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    yield "inserted", inserted
    yield "early", honest


def of_the_world(count: int, asked: str) -> list[tuple[str, Row]]:
    """Kind and figures of `count` scenes under every flaw."""
    actions = [action for action in MOVING if action != "blink"]  # a blink is a flaw of its own
    scenes = world.draw(count, SEED, actions)
    source, acting = world.render(scenes.acting("stay")), world.sound(scenes, seed=SEED)
    choice, rows = choose(asked), []
    for kind, edits in flawed(scenes):
        for index, (before, edit, sound) in enumerate(zip(source, edits, acting, strict=True)):
            waveform = sound.roll(-early(kind), dims=-1)
            clip = Clip(edit, world.FPS, waveform, world.SAMPLE_RATE)
            prompts = scenes.prompts()[index], scenes.acting("stay").prompts()[index]
            pair = Edited(
                replace(clip, frames=before), clip, *prompts, kept=KEPT, model=weights_path()
            )
            rows.append((kind, measure(pair, choice).figures))
            say(f"{kind} {index + 1}/{count}")
    return rows


def early(kind: str) -> int:
    """Samples that a kind's sound comes too early."""
    return round(LATE / world.FPS * world.SAMPLE_RATE) if kind == "early" else 0


def questions(rows: Sequence[tuple[str, Row]]) -> str:
    """Areas under ROC curves: figures downwards, questions across."""
    lines = []
    for name, figure in figures().items():
        cells = []
        for yes, no in QUESTIONS.values():
            chosen = [(kind, row.get(name)) for kind, row in rows if kind in (*yes, *no)]
            seen = [(kind in yes, value) for kind, value in chosen if value is not None]
            area = roc_area([value for _, value in seen], [truth for truth, _ in seen])
            cells.append("" if area is None else f"{area:.2f}")
        lines.append([figure.title, *cells])
    return markdown(["area under ROC", *QUESTIONS], lines)


def of_edits(folder: Path, asked: str) -> list[tuple[dict[str, str], Row]]:
    """What is known of each edit in `cells.csv` of an experiment, and its figures."""
    choice, found = choose(asked), []
    cells = [cell for cell in read_table(str(folder / "cells.csv")) if cell["happened_edited"]]
    for number, cell in enumerate(cells, 1):
        video = folder / cell["folder"] / "edited.mp4"
        if video.is_file():
            source = folder / "sources" / f"{cell['task']}.mp4"
            pair, _ = read_pair(video, source, prompt=cell["prompt"], kept=KEPT + 2, model="pocket")
            found.append((cell, measure(pair, choice).figures))
            say(f"{number}/{len(cells)}")
    return found


def against_truth(rows: Sequence[tuple[dict[str, str], Row]]) -> str:
    """Areas and taus: figures downwards."""
    lines = []
    for name, figure in figures().items():
        seen = [(cell, value) for cell, row in rows if (value := row.get(name)) is not None]
        values = [value for _, value in seen]
        happened = roc_area(values, [cell["happened_edited"] == "True" for cell, _ in seen])
        broken = roc_area(values, [cell["continuous_edited"] == "False" for cell, _ in seen])
        taus = [
            kendall(values, [as_number(cell[truth]) or 0.0 for cell, _ in seen])
            for truth in ("strength_edited", "outside_edited")
        ]
        cells = ["" if each is None else f"{each:.2f}" for each in (happened, broken, *taus)]
        lines.append([figure.title, *cells])
    header = ["", "ROC: happened", "ROC: broken", "tau: strength", "tau: change outside"]
    return markdown(header, lines)


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=20, help="scenes of each kind")
    parser.add_argument("--metrics", default="all")
    options = parser.parse_args(arguments)
    with quiet_libraries():
        if options.folder is None:
            print(questions(of_the_world(options.count, options.metrics)))
        else:
            print(against_truth(of_edits(options.folder, options.metrics)))


if __name__ == "__main__":
    main()
