"""How far the bundled critics can be trusted, by deception and by what they say.

    python benchmarks/critics.py [--count 96] [--model FOLDER] [--output docs/images/critics.png]

Every critic of the model answers questions about held-out clips of the bundled world, honest and
with every deception; the world's measurement knows the truth. Prints the share of right answers
and draws the reliability curves: of the clips to which a critic gives this P(yes), how many show
what was asked about.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from sparks.files import replacing
from sparks.models.quiet import quiet_libraries
from sparks.pocket import weights_path
from sparks.pocket.training.acceptance import CRITICS, Answer, agreement, reliability


def table(found: dict[str, list[Answer]]) -> str:
    """Markdown: the share of right answers on each kind of clip, for each critic."""
    kinds = list(dict.fromkeys(answer.deception for answer in next(iter(found.values()))))
    head = ["critic", *kinds, *agreement(next(iter(found.values())))]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    for critic, answers in found.items():
        shares = [_right([a for a in answers if a.deception == kind]) for kind in kinds]
        figures = [*shares, *agreement(answers).values()]
        lines.append(f"| {critic} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    return "\n".join(lines)


def _right(answers: Sequence[Answer]) -> float:
    return sum((answer.p_yes > 0.5) == answer.truth for answer in answers) / len(answers)


def draw(found: dict[str, list[Answer]], path: Path) -> None:
    """Reliability curves; the area of a dot is the number of clips it stands for."""
    figure = Figure(figsize=(2.4 * len(found), 2.7), dpi=120, layout="constrained")
    for axes, (critic, answers) in zip(
        figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found.items(), strict=True
    ):
        said, happened, count = zip(*reliability(answers), strict=True)
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        axes.plot(said, happened, color="tab:blue", linewidth=1)
        axes.scatter(said, happened, [200 * n / len(answers) + 4 for n in count], color="tab:blue")
        axes.set(title=critic, xlabel="P(yes)", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.axes[0].set_ylabel("share that is so")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask every critic that the model has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=weights_path())
    parser.add_argument("--count", type=int, default=96, help="clips of each kind")
    parser.add_argument("--output", type=Path, default=Path("critics.png"))
    options = parser.parse_args(arguments)
    with quiet_libraries(), torch.no_grad():
        found = {
            name: ask(options.model / name, options.count)
            for name, ask in CRITICS.items()
            if (options.model / name).is_dir()
        }
    draw(found, options.output)
    print(table(found))


if __name__ == "__main__":
    main()
