"""Does sound look where the motion is, and text at the object? Maps of attention against the truth.

    sparks bench --tasks test40 --seeds 4 --jobs N --output runs/bench
    python benchmarks/attention.py runs/bench --jobs N --output runs/attention

Every finished edit of the bench is rendered again, prompt only and tuned, and the cross-attention
that is averaged on the way is compared with what the world's measurement sees in the very frames,
in the latent frames that are made anew. Two controls stand beside each figure: the same maps on the
truth of other tasks, since objects and attention both keep to the middle; and places drawn blindly.
What is finished is not run again; without a bench, the table is written of what there is.

The claims were fixed before the test half was looked at: tuned, `sound` on `motion`, and `object
words` on `object`, each by its correlation less that with other tasks.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from ledger import append, line
from torch import Tensor

from sparks.errors import SparksError
from sparks.evaluation.statistics.tables import Estimate, csv_text, estimate, markdown
from sparks.experiments.cells import Cell, Plan, load_plan
from sparks.experiments.sources import source
from sparks.files import replacing, write_text
from sparks.insight.agreement import TRUTHS, asked, compare, correlations, truths
from sparks.insight.attending import look
from sparks.insight.finished import reopen
from sparks.insight.heat import Heat
from sparks.media.clip import read_clip
from sparks.models.quiet import quiet_libraries
from sparks.pocket.words import COLOURS, understand
from sparks.runs.cache import Cache

RENDERS = ("baseline", "edited")
MAPS = ("sound", "sound-writes", "object words", "action words", "text", "text-writes")
CLAIMS = (("sound", "motion"), ("object words", "object"))
COLUMNS = ("correlation", "elsewhere", "more", "overlap", "chance", "more_overlap")
_CACHE = Cache()  # of one process


def look_at(bench: Path, output: Path, plan: Plan, cell: Cell) -> Cell:
    """Render one cell's two edits and write their maps and truths."""
    from safetensors.torch import save

    with quiet_libraries():
        task = next(task for task in plan.tasks if task.name == cell.task)
        moved = {"video": str(source(bench, task))}
        finished = reopen(bench / cell.name, moved, cache=_CACHE)
        tensors: dict[str, Tensor] = {}
        about: dict[str, Any] = {"setting": cell.setting, "task": cell.task}
        about |= {"seed": cell.settings["seed"], "prompt": finished.prepared.config.prompt}
        conditioning: Any = finished.prepared.problem.conditioning
        said = understand(conditioning.prompt)
        compression = finished.prepared.problem.editor.temporal_compression
        colour, shape = COLOURS.index(str(said.colour)), conditioning.latent_shape
        for name in RENDERS:
            view = look(finished, name)
            written = read_clip(bench / cell.name / f"{name}.mp4").frames
            about[f"again_{name}"] = float((written - view.frames).abs().mean())
            for kind, heat in maps(view.heat, (str(said.colour), str(said.shape))).items():
                tensors[f"{name}/map/{kind}"] = heat[conditioning.prefix_latents :]
            for kind, truth in truths(view.frames, colour, shape, compression).items():
                tensors[f"{name}/truth/{kind}"] = truth[conditioning.prefix_latents :]
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    with replacing(place(output, cell)) as temporary:
        temporary.write_bytes(save(tensors, {"about": json.dumps(about)}))
    return cell


@contextmanager
def spread(jobs: int) -> Iterator[Any]:
    """What applies a function to many things: `map`, or that of processes that end with this."""
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (os.getpid(),)) as pool:
        yield pool.map


def _begin(parent: int) -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def maps(heat: Heat, named: Sequence[str]) -> dict[str, Tensor]:
    """`[F, H, W]` of each of MAPS; `named` are the words that name the object."""
    articles = {"a", "the"}
    action = [word for word in heat.words if word not in {*named, *articles}]
    found = {kind: heat.mean(kind) for kind in ("sound", "sound-writes", "text", "text-writes")}
    return found | {
        "object words": heat.of_words(named),
        "action words": heat.of_words(action),
    }


def place(output: Path, cell: Cell) -> Path:
    """Where a cell's maps are."""
    return output / "maps" / f"{cell.name.removeprefix('cells/').replace('/', '-')}.safetensors"


def rows(output: Path) -> Iterator[dict[str, Any]]:
    """One for each edit, render, map and truth, with both controls."""
    from safetensors import safe_open

    edits = []
    for path in sorted((output / "maps").glob("*.safetensors")):
        with safe_open(str(path), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            edits.append((json.loads(file.metadata()["about"]), tensors))
    for render in RENDERS:
        for truth in TRUTHS:
            yield from _compared(edits, render, truth)


Edit = tuple[dict[str, Any], dict[str, Tensor]]  # what it is, and its maps and truths


def _compared(edits: Sequence[Edit], render: str, truth: str) -> Iterator[dict[str, Any]]:
    """Every map of every edit with its own truth, and with those of other tasks and its seed."""
    start = f"{render}/truth/"
    own = [{k[len(start) :]: v for k, v in t.items() if k.startswith(start)} for _, t in edits]
    asked_of = [asked(each, truth) for each in own]
    there, where = (torch.stack([pair[i].flatten() for pair in asked_of]) for i in (0, 1))
    for number, (about, tensors) in enumerate(edits):
        others = [
            i
            for i, (other, _) in enumerate(edits)
            if other["task"] != about["task"] and other["seed"] == about["seed"]
        ]
        for kind in MAPS:
            heat = tensors[f"{render}/map/{kind}"]
            found = compare(heat, own[number], truth)
            elsewhere = correlations(heat.flatten(), there[others], where[others])
            if found is None or not len(elsewhere):
                continue
            mean = float(elsewhere.mean())
            yield (
                about
                | {"render": render, "map": kind, "truth": truth}
                | found
                | {
                    "elsewhere": mean,
                    "more": found["correlation"] - mean,
                    "more_overlap": found["overlap"] - found["chance"],
                }
            )


def estimates(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means with intervals over tasks and seeds, as the ledger has them."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        groups[row["render"], row["map"], row["truth"]].append(row)
    lines = []
    for (render, kind, truth), group in groups.items():
        for column in COLUMNS:
            mean = estimate(group, column)
            assert mean is not None
            what = {"setting": render, "metric": f"{kind} on {truth}: {column}"}
            lines.append({"match": None, **what, **asdict(mean)})
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """As Markdown, a part for each render."""
    known = {(each["setting"], each["metric"]): each for each in lines}
    text = []
    header = ["map", "on", "correlation", "with other tasks'", "more", "overlap", "by chance"]
    for render in RENDERS:
        body = []
        for kind in MAPS:
            for truth in TRUTHS:
                cells = [known.get((render, f"{kind} on {truth}: {c}")) for c in COLUMNS[:5]]
                if None not in cells:
                    body.append([kind, truth, *(shown(c, i) for i, c in enumerate(cells))])
        name = {"baseline": "Prompt only", "edited": "Tuned"}[render]
        count = len({known[k]["count"] for k in known if k[0] == render})
        text.append(f"## {name}\n\n{markdown(header, body)}" if count else "")
    return "\n".join(text)


def shown(line: dict[str, Any] | None, column: int) -> str:
    """A mean, with its interval where that is what is looked at."""
    assert line is not None
    form = "+.2f" if column < 3 else ".2f"
    interval = f" [{line['low']:{form}}, {line['high']:{form}}]" if column in (0, 2, 3) else ""
    return f"{line['mean']:{form}}{interval}"


def verdicts(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What was claimed, and whether it holds."""
    known = {(each["setting"], each["metric"]): each for each in lines}
    for kind, truth in CLAIMS:
        found = known.get(("edited", f"{kind} on {truth}: more"))
        if found is not None:
            e = Estimate(**{k: found[k] for k in ("mean", "low", "high", "count")})
            holds = "holds" if e.low > 0 else "fails" if e.high < 0 else "is not shown"
            yield (
                f"tuned, {kind} on {truth}: {e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}] more than "
                f"with other tasks, of {e.count}; {holds}"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Look at what is left and write tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=Path("runs/attention"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--ledger", type=Path, help="append a line to it, e.g. docs/ledger.jsonl")
    parser.add_argument("--commit", default="", help="for the ledger; HEAD's if left out")
    parser.add_argument("--note", default="", help="for the ledger")
    options = parser.parse_args(arguments)
    if options.bench is not None:
        bench, plan = options.bench.absolute(), load_plan(options.bench)
        output = options.output.absolute()
        work = partial(look_at, bench, output, plan)
        todo = [c for c in plan.cells if c.row(bench).is_file() and not place(output, c).is_file()]
        plan.save(output)
        with ProcessPoolExecutor(
            options.jobs, get_context("spawn"), torch.set_num_threads, (1,)
        ) as pool:
            for cell in pool.map(work, todo):
                print(cell.name, flush=True)
    found = list(rows(options.output))
    if not found:
        raise SparksError(
            f"{options.output} holds no maps; give a bench folder with finished edits"
        )
    lines = estimates(found)
    text = "\n".join([table(lines), *verdicts(lines)]) + "\n"
    write_text(options.output / "rows.csv", csv_text(found))
    write_text(options.output / "table.json", json.dumps(lines, indent=1) + "\n")
    write_text(options.output / "table.md", text)
    print(text)
    if options.ledger is not None:
        plan = load_plan(options.output)
        title = "benchmarks/attention.py"
        append(options.ledger, line(plan, found, lines, title, options.commit, options.note))


if __name__ == "__main__":
    main()
