"""Maps of the tuned controls of many runs: what `sparks map` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sparks.errors import SparksError, shorten
from sparks.files import replacing, write_text
from sparks.insight.embedding import METHODS, TITLES, library
from sparks.insight.neighbours import apart, cosine_distances, gram, grouping, pairs
from sparks.insight.page import write_page
from sparks.insight.tuned import WHAT, Tuned, read_runs, vectors
from sparks.runs.folder import new_folder

Array = npt.NDArray[np.floating[Any]]
_MOST_LABELS = 20  # colours that can be told apart, more or less


@dataclass(frozen=True)
class Chart:
    """The map of one tensor by one method.

    Attributes:
        what, method: of the tensor, and by which its places were found.
        runs: those that have tuned it.
        places: `[n, 2]`.
        near, far: pairs of runs by their cosine distance in the full space.
        distances: `[n, n]`.
    """

    what: str
    method: str
    runs: Sequence[Tuned]
    places: Array
    near: Sequence[tuple[int, int]]
    far: Sequence[tuple[int, int]]
    distances: Array


def chart(
    folders: Sequence[Path],
    output: Path | None,
    *,
    of: Sequence[str] = WHAT,
    methods: Sequence[str] = ("pca", "tsne"),
    colour: str | None = None,
    count: int = 5,
) -> dict[str, Any]:
    """Write `map.png`, `index.html` and `map.json` of all finished runs in some folders.

    Args:
        folders: of runs, or of many.
        output: where to write; a new folder in `runs` by default.
        of: `alpha`, `delta_v`.
        methods: of METHODS.
        colour: a field of the runs; `asks` where they have it, else `prompt`.
        count: nearest and farthest pairs that are drawn, each.

    Returns:
        What `map.json` holds: runs, and for each tensor places by method, pairs, and how the field
        groups, where it has labels.

    Raises:
        SparksError: a tensor, method or field that there is not, or see `read_runs`, `vectors`.
    """
    check(of, methods)
    runs = read_runs(folders)
    colour = colour or ("asks" if any("asks" in run.fields for run in runs) else "prompt")
    _check_field(colour, runs)
    charts = [each for what in of for each in _charts(what, methods, runs, count)]
    groups = {each.what: _grouping(each, colour) for each in charts if each.method == methods[0]}
    content = {"colour": colour, "grouping": groups, "maps": [_content(each) for each in charts]}
    output = output or new_folder("map")  # not before there is something to write
    draw(output / "map.png", charts, colour)
    write_page(output / "index.html", charts, runs, colour, groups)
    write_text(output / "map.json", json.dumps(content, indent=1) + "\n")
    return {"folder": str(output), "runs": len(runs)} | content


def _charts(what: str, methods: Sequence[str], runs: Sequence[Tuned], count: int) -> list[Chart]:
    tuned, values = vectors(runs, what)
    products = gram(values)
    distances = cosine_distances(products)
    near, far = pairs(distances, count)
    return [
        Chart(what, method, tuned, np.asarray(METHODS[method](products)), near, far, distances)
        for method in methods
    ]


def _grouping(chart: Chart, colour: str) -> dict[str, Any] | None:
    """None where the field is no label, or every run has its own."""
    labels = [run.fields.get(colour) for run in chart.runs]
    tasks = [task_of(run) for run in chart.runs]
    one_each = len({*zip(tasks, labels, strict=True)}) == len(set(tasks))
    if not _are_labels(labels) or not one_each or not 1 < len(set(labels)) < len(set(tasks)):
        return None
    away = apart(tasks, [run.fields.get("seeds.search") for run in chart.runs])
    found = grouping(chart.distances, labels, tasks, away)
    return {name: asdict(each) for name, each in found.items()}


def task_of(run: Tuned) -> str:
    """What runs that differ by their seed alone have in common: source and prompt."""
    return f"{run.fields.get('source.sha256')} {run.fields.get('prompt')}"


def _are_labels(values: Sequence[Any]) -> bool:
    return not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _content(chart: Chart) -> dict[str, Any]:
    def named(chosen: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        return [
            {"runs": [chart.runs[i].name, chart.runs[j].name], "distance": chart.distances[i, j]}
            for i, j in chosen
        ]

    places = zip(chart.runs, chart.places.tolist(), strict=True)
    return {
        "of": chart.what,
        "method": chart.method,
        "places": {run.name: place for run, place in places},
        "nearest": named(chart.near),
        "farthest": named(chart.far),
    }


def check(of: Sequence[str], methods: Sequence[str]) -> None:
    """See that there are such tensors and methods, and what the methods need.

    Raises:
        SparksError: there is none of a name, or a library is missing.
    """
    _check("of", of, WHAT)
    _check("method", methods, tuple(METHODS))
    for name in methods:
        library(name)


def _check(option: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            raise SparksError(f"--{option} {name!r} is unknown: choose from {', '.join(there)}")


def _check_field(colour: str, runs: Sequence[Tuned]) -> None:
    if any(colour in run.fields for run in runs):
        return
    counts = {name for run in runs for name in run.fields if not name.startswith("config.")}
    raise SparksError(
        f"no run has the field {shorten(colour)!r}; there are {', '.join(sorted(counts))}, and "
        "config.* of every setting"
    )


def draw(path: Path, charts: Sequence[Chart], colour: str) -> None:
    """Write a PNG with a panel for each map, a row for each tensor."""
    from matplotlib.figure import Figure

    rows = list(dict.fromkeys(each.what for each in charts))
    columns = list(dict.fromkeys(each.method for each in charts))
    size = (4.8 * len(columns) + 1.6, 4.4 * len(rows))
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for each in charts:
        axes = grid[rows.index(each.what), columns.index(each.method)]
        _panel(axes, each, colour)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", title=colour, fontsize=8)
    else:
        figure.colorbar(grid[0, 0].collections[0], ax=grid, label=colour, shrink=0.6)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _panel(axes: Any, chart: Chart, colour: str) -> None:
    places = chart.places
    for chosen, style in ((chart.near, "-"), (chart.far, ":")):
        for i, j in chosen:
            axes.plot(*places[[i, j]].T, style, color="grey", linewidth=0.9, zorder=1)
    values = [run.fields.get(colour) for run in chart.runs]
    if _are_labels(values) and len(set(values)) <= _MOST_LABELS:
        for value, shade, marker in _styles(values):
            these = [i for i, each in enumerate(values) if each == value]
            axes.scatter(*places[these].T, s=26, color=shade, marker=marker, label=str(value))
    elif _are_labels(values):
        axes.scatter(*places.T, s=26, c=[sorted(map(str, values)).index(str(v)) for v in values])
    else:
        axes.scatter(*places.T, s=26, c=[np.nan if v is None else v for v in values])
    axes.set(title=f"{chart.what}, {TITLES[chart.method]}", xticks=[], yticks=[])


def _styles(values: Sequence[Any]) -> list[tuple[Any, Any, str]]:
    from matplotlib import colormaps

    names = sorted({*values}, key=str)
    return [(n, colormaps["tab10"](i % 10), "o^"[i // 10 % 2]) for i, n in enumerate(names)]
