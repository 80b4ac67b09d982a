"""Learn, calibrate and test what `sparks screen` says, in stages that can be started again.

    sparks bench --tasks dev40 --seeds 4 --output runs/dev40       # whether it happens: the labels
    sparks bench --tasks test40 --seeds 4 --output runs/test40
    python benchmarks/screen.py recorded runs/dev40 --output dev40.jsonl
    python benchmarks/screen.py recorded runs/test40 --output test40.jsonl
    python benchmarks/screen.py fit --features dev40.jsonl
    python benchmarks/screen.py test --features test40.jsonl

A probe's start and draws are the first evaluations of `hybrid`: `recorded` takes them from the
histories of finished edits, one line of JSON for each task and seed. `features` renders whole
probes instead, noises, gradient and motion included, and more of each than a screening:

    python benchmarks/screen.py features --tasks dev40 --seeds 4 --jobs 16 --output whole.jsonl
    python benchmarks/screen.py fit --features whole.jsonl --rows runs/dev40

`fit` chooses features by cross-validation over the tasks of the development half and writes the
numbers into the package. `test` looks at the test half once and draws it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sparks.evaluation.statistics.bootstrap import LEVEL, RESAMPLES, times_drawn
from sparks.evaluation.statistics.scores import as_number
from sparks.experiments.tasks import Task, first_seed, task_list
from sparks.files import replacing, write_text
from sparks.pocket.words import understand
from sparks.runs.cache import Cache
from sparks.runs.screening.features import features as read_off
from sparks.runs.screening.predictor import Predictor, Record, Term, load_predictor
from sparks.runs.screening.probe import Effort, Look, Probe, evenly

PACKAGE = Path(__file__).parents[1] / "sparks" / "runs" / "screening"
PROBED = Effort(noises=6, steps=2, draws=15)  # of `features`; a screening renders fewer
EFFORTS = (Effort(2, 1, 2), Effort(3, 1, 4), Effort(4, 1, 6), PROBED)
CHOSEN = EFFORTS[2]
BUDGET, LABEL = "qwen_calls=30", "happened_edited"
MOST_TERMS, PENALTY, BINS = 4, 1.0, 6
Array = np.ndarray
_CACHE = Cache()


@dataclass(frozen=True)
class Case:
    """One task and seed: what a probe saw, and whether the edit happened."""

    task: str
    seed: int
    action: str
    probe: Probe
    happened: bool


# ---- features


def features(options: argparse.Namespace) -> None:
    """Probe every task and seed that has no line yet."""
    first = first_seed(options.tasks) or 0
    cells = [(t, first + n) for t in task_list(options.tasks) for n in range(options.seeds)]
    there = {(row["task"], row["seed"]) for row in lines(options.output)}
    left = [(task, seed) for task, seed in cells if (task.name, seed) not in there][: options.count]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    began, context = time.perf_counter(), multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(options.jobs, context, _one_thread) as pool,
        options.output.open("a", encoding="utf-8") as file,
    ):
        running = [pool.submit(probed, task, seed) for task, seed in left]
        for count, done in enumerate(as_completed(running), 1):
            file.write(json.dumps(done.result()) + "\n")
            file.flush()
            print(f"{count}/{len(left)}  {time.perf_counter() - began:.0f} s", flush=True)


def probed(task: Task, seed: int) -> dict[str, Any]:
    """The line of one task and seed."""
    from sparks.runs.prepare import prepare
    from sparks.runs.screening.probe import probe

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        settings = task.settings(task.write_source(Path(scratch)))
        prepared = prepare(settings | {"seed": seed, "device": "cpu"}, cache=_CACHE)
    seen, _ = probe(
        prepared.problem,
        prepared.solver,
        prepared.source.frames,
        static_prompt=task.static_prompt,
        effort=PROBED,
        seed=seed,
    )
    seconds = time.perf_counter() - began
    own = {"task": task.name, "seed": seed, "action": task.action, "seconds": seconds}
    return own | {"probe": seen.json()}


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def lines(path: Path) -> list[dict[str, Any]]:
    """What `features` has written so far."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- recorded


def recorded(options: argparse.Namespace) -> None:
    """The start and the draws of finished edits, as a probe would have seen them."""
    every = [line for run in options.runs for file in rows_in([run]) if (line := remembered(file))]
    write_text(options.output, "".join(json.dumps(line) + "\n" for line in every))
    print(f"{len(every)} edits")


def rows_in(runs: Iterable[Path]) -> list[Path]:
    return [file for run in runs for file in sorted(run.glob("cells/*/*/row.json"))]


def remembered(file: Path) -> dict[str, Any] | None:
    """The line of one finished edit by `hybrid`; None for one by another solver."""
    home, row = file.parent, json.loads(file.read_text("utf-8"))
    text = (home / "history.jsonl").read_text("utf-8").splitlines()
    history = [json.loads(line) for line in text][: 1 + PROBED.draws]
    if row["solver"] != "hybrid" or len(history) <= PROBED.draws:
        return None
    kept = json.loads((home / "run.json").read_text("utf-8"))["kept"]["frames"]
    source = file.parents[3] / "sources" / f"{row['task']}.mp4"
    start, *draws = ({"p_yes": each["p_yes"], **UNKNOWN} for each in history)
    start |= _seen(home / "baseline.mp4", kept)
    looks = [{"kind": "start", **start}, *({"kind": "draw", **draw} for draw in draws)]
    seen = {"prompt": row["prompt"], "static_prompt": None, "slope": None, "spent": {}}
    seen |= {"source": list(_seen(source, kept).values()), "looks": looks}
    own = {"task": row["task"], "seed": row["seed"], "action": understand(row["prompt"]).action}
    return own | {LABEL: row[LABEL], "probe": seen}


UNKNOWN = {"motion": math.nan, "leap": math.nan}  # of draws, whose frames are not kept


def _seen(video: Path, kept: int) -> dict[str, float]:
    from sparks.media.clip import read_clip
    from sparks.runs.screening.probe import motion

    return dict(zip(UNKNOWN, motion(read_clip(video).frames[max(kept - 1, 0) :]), strict=True))


# ---- cases


def cases(features: Path, rows: Sequence[Path], label: str) -> list[Case]:
    """Probes and how they ended, by themselves or by rows: `cells.csv`, or folders of bench."""
    table = [json.loads(f.read_text("utf-8")) for f in rows_in(rows)]
    for path in filter(Path.is_file, rows):
        with path.open(newline="", encoding="utf-8") as file:
            table += csv.DictReader(file)
    ends = {(row["task"], int(row["seed"])): row for row in table}
    every = []
    for line in lines(features):
        end = as_number(ends.get((line["task"], line["seed"]), line).get(label))
        if end is not None:
            seen = as_probe(line["probe"])
            every.append(Case(line["task"], line["seed"], line["action"], seen, bool(end)))
    return sorted(every, key=lambda case: (case.task, case.seed))


def as_probe(content: Mapping[str, Any]) -> Probe:
    looks = tuple(Look(**look) for look in content["looks"])
    return Probe(**{**content, "looks": looks, "source": tuple(content["source"])})


def reduced(probe: Probe, effort: Effort) -> Probe:
    """What a probe of less effort would have seen."""
    draws = probe.of("draw")
    kept = [draws[index] for index in evenly(len(draws), effort.draws)]
    fewer = [*probe.of("noise")[: effort.noises - 1], *probe.of("step")[: effort.steps], *kept]
    return replace(probe, looks=(probe.looks[0], *fewer))


# ---- fit


def fit(options: argparse.Namespace) -> None:
    """Choose features, fit, calibrate, write `predictor.json`; say what less and more would do."""
    every = cases(options.features, options.rows, options.label)
    print(f"{len(every)} edits, {sum(case.happened for case in every)} happened", flush=True)
    for effort in EFFORTS:
        learner = Learner([replace(case, probe=reduced(case.probe, effort)) for case in every])
        names = learner.choose()
        odds = learner.held_out(names)
        print(
            f"{total(effort):2d} renders {asdict(effort)}: log loss {learner.loss(odds):.4f}, "
            f"area {area(odds, learner.truth):.3f}, by {', '.join(names)}",
            flush=True,
        )
        if effort == CHOSEN:
            predictor = learner.predictor(names, odds, effort)
    alone = learner.held_out(["action"])
    print(
        f"the action alone: log loss {learner.loss(alone):.4f}, "
        f"area {area(alone, learner.truth):.3f}"
    )
    write_text(options.output, json.dumps(predictor.json(), indent=1) + "\n")


def total(effort: Effort) -> int:
    return effort.noises + effort.steps + effort.draws


class Learner:
    """Regressions on the cases of a development half, judged by leaving out one task at a time."""

    def __init__(self, every: Sequence[Case]) -> None:
        self.cases = every
        self.truth = np.array([case.happened for case in every], float)
        self.tasks = sorted({case.task for case in every})
        self.task = np.array([self.tasks.index(case.task) for case in every])
        read = [read_off(case.probe) for case in every]
        columns = {name: np.array([one[name] for one in read]) for name in read[0]}
        # What a recorded edit does not know is no number, or the same for all.
        self.columns = {name: column for name, column in columns.items() if column.std() > 1e-9}

    def choose(self) -> list[str]:
        """The action, and features as long as each makes the held-out loss smaller."""
        names, least = ["action"], self.loss(self.held_out(["action"]))
        while len(names) < min(MOST_TERMS, 1 + len(self.columns)):
            others = [name for name in self.columns if name not in names]
            loss, best = min((self.loss(self.held_out([*names, n])), n) for n in others)
            if loss > least - 0.002:
                break
            names, least = [*names, best], loss
        return names

    def held_out(self, names: Sequence[str]) -> Array:
        """Log odds of each case by a regression that has not seen its task."""
        odds = np.zeros(len(self.cases))
        for left_out in range(len(self.tasks)):
            inside = self.task != left_out
            table = self.table(names, left_out)
            _, mean, scale = standard(table[inside])
            weights = logistic((table[inside] - mean) / scale, self.truth[inside])
            odds[~inside] = weights[0] + (table[~inside] - mean) / scale @ weights[1:]
        return odds

    def table(self, names: Sequence[str], left_out: int | None = None) -> Array:
        """`[cases, names]`; the record of a case's action knows neither its task nor `left_out`."""
        columns = [
            self.records(left_out) if name == "action" else self.columns[name] for name in names
        ]
        return np.stack(columns, axis=1)

    def records(self, left_out: int | None) -> Array:
        """The action's log odds for each case."""
        own = []
        for index in range(len(self.tasks)):
            others = [
                c for c, t in zip(self.cases, self.task, strict=True) if t not in (index, left_out)
            ]
            own.append(bare(others))
        return np.array(
            [own[t].action(c.probe.prompt) for c, t in zip(self.cases, self.task, strict=True)]
        )

    def loss(self, odds: Array) -> float:
        """Mean of -log of the probability of what came."""
        return float(np.logaddexp(0, np.where(self.truth > 0, -odds, odds)).mean())

    def predictor(self, names: Sequence[str], odds: Array, effort: Effort) -> Predictor:
        """Fitted on all cases, its log odds stretched as the held-out ones want to be (Platt)."""
        _, mean, scale = standard(table := self.table(names))
        weights = logistic((table - mean) / scale, self.truth)
        offset, stretch = logistic(odds[:, None], self.truth, penalty=0.1)
        made = "python benchmarks/screen.py fit --features dev40.jsonl"
        terms = zip(mean, scale, stretch * weights[1:], strict=True)
        return Predictor(
            made,
            BUDGET,
            effort,
            float(offset + stretch * weights[0]),
            {n: Term(*map(float, term)) for n, term in zip(names, terms, strict=True)},
            bare(self.cases).records,
        )


def bare(every: Iterable[Case]) -> Predictor:
    """The records of actions, and nothing else."""
    counts, happened = Counter[str](), Counter[str]()
    for case in every:
        counts[case.action] += 1
        happened[case.action] += case.happened
    records = {action: Record(happened[action], counts[action]) for action in sorted(counts)}
    return Predictor("", BUDGET, CHOSEN, 0.0, {"action": Term(0.0, 1.0, 1.0)}, records)


def standard(table: Array) -> tuple[Array, Array, Array]:
    """Columns of mean 0 and deviation 1, and what they were."""
    mean, scale = table.mean(0), table.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    return (table - mean) / scale, mean, scale


def logistic(table: Array, truth: Array, penalty: float = PENALTY) -> Array:
    """Intercept and weights by Newton's method; the squares of the weights cost `penalty` / 2."""
    inputs = np.column_stack([np.ones(len(table)), table])
    ridge = np.diag([1e-6, *[penalty] * table.shape[1]])
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (truth - p) - ridge @ weights
        curve = (inputs * (p * (1 - p))[:, None]).T @ inputs + ridge
        weights = weights + np.linalg.solve(curve, slope)
    return weights


# ---- test


def test(options: argparse.Namespace) -> None:
    """Area under the curve, its lead over the action alone, and calibration; a picture of them."""
    predictor = load_predictor()
    every = cases(options.features, options.rows, options.label)
    every = [replace(case, probe=reduced(case.probe, predictor.effort)) for case in every]
    truth = np.array([case.happened for case in every], float)
    said = scores(predictor, every)
    tasks, draws = len({case.task for case in every}), list(resampled(every))
    print(f"{len(every)} edits of {tasks} tasks, {truth.mean():.3f} happened\n")
    print(f"| | {' | '.join(said)} | the first less the second |\n|{' --- |' * 5}")
    measures: dict[str, Callable[[Array, Array, Array], float]] = {
        "area under the curve": area,
        "Brier score": brier,
    }
    for name, measure in measures.items():
        whole = [measure(p, truth, np.ones(len(truth))) for p in said.values()]
        drawn = [[measure(p, truth, weight) for weight in draws] for p in said.values()]
        lead = [one - other for one, other in zip(drawn[0], drawn[1], strict=True)]
        cells = [_with(*pair) for pair in zip(whole, drawn, strict=True)]
        print(f"| {name} | {' | '.join(cells)} | {_with(whole[0] - whole[1], lead, '+')} |")
    draw(options.output, said, truth)


def scores(predictor: Predictor, every: Sequence[Case]) -> dict[str, Array]:
    """Probabilities by all that is known, by the action alone, and without knowing the action."""
    records = np.array([predictor.action(case.probe.prompt) for case in every])
    unknown = [replace(case.probe, prompt="") for case in every]
    return {
        "screen": np.array([predictor.probability(case.probe) for case in every]),
        "the action alone": 1 / (1 + np.exp(-records)),
        "renders alone": np.array([predictor.probability(probe) for probe in unknown]),
    }


def resampled(every: Sequence[Case]) -> Iterable[Array]:
    """How often each case counts when tasks and seeds are drawn anew."""
    rng = np.random.default_rng(0)
    tasks, task = np.unique([case.task for case in every], return_inverse=True)
    seeds, seed = np.unique([case.seed for case in every], return_inverse=True)
    for _ in range(RESAMPLES):
        yield times_drawn(len(tasks), rng)[task] * times_drawn(len(seeds), rng)[seed]


def area(score: Array, truth: Array, weight: Array | None = None) -> float:
    """Chance that a case that happened scores above one that did not; ties count half."""
    weight = np.ones(len(truth)) if weight is None else weight
    yes, no = truth > 0, truth == 0
    above = np.sign(score[yes][:, None] - score[no]) / 2 + 0.5
    pairs = weight[yes].sum() * weight[no].sum()
    return float(weight[yes] @ above @ weight[no] / pairs) if pairs else math.nan


def brier(p: Array, truth: Array, weight: Array) -> float:
    """Mean squared error of the probability."""
    return float(np.average((p - truth) ** 2, weights=weight)) if weight.sum() else math.nan


def _with(value: float, drawn: Sequence[float], sign: str = "") -> str:
    low, high = np.nanquantile(drawn, LEVEL)
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def draw(path: Path, said: Mapping[str, Array], truth: Array) -> None:
    """Reliability with Wilson intervals on the left, all curves on the right."""
    from matplotlib.figure import Figure

    ours = said["screen"]
    figure = Figure(figsize=(10, 4.6), dpi=140, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="calibrated")
    order = np.argsort(ours, kind="stable")
    for part in np.array_split(order, BINS):
        rate, (low, high) = truth[part].mean(), wilson(truth[part].sum(), len(part))
        bars = [[max(rate - low, 0)], [max(high - rate, 0)]]
        left.errorbar(ours[part].mean(), rate, bars, fmt="o", color="#c8501e", capsize=3)
    for value, height in ((1, 1.05), (0, -0.05)):
        there = ours[truth == value]
        jitter = np.random.default_rng(0).uniform(-0.015, 0.015, len(there))
        left.plot(there, height + jitter, "|", color="#c8501e" if value else "0.4", alpha=0.6)
    left.set(
        xlabel="what the screen said: P(happens)",
        ylabel=f"happened (six equal groups of {len(truth)})",
        xlim=(0, 1),
        ylim=(-0.1, 1.1),
    )
    for (name, score), colour in zip(said.items(), ("#c8501e", "0.45", "#2f6f9f"), strict=True):
        steps = [(0.0, 0.0)] + [
            ((score[truth == 0] >= t).mean(), (score[truth > 0] >= t).mean())
            for t in np.unique(score)[::-1]
        ]
        label = f"{name}: {area(score, truth):.2f}"
        right.plot(*zip(*steps, strict=True), color=colour, label=label, linewidth=2)
    right.plot([0, 1], [0, 1], color="0.85", linewidth=1)
    right.set(xlabel="did not happen, and was let through", ylabel="happened, and was let through")
    right.legend(loc="lower right", title="area under the curve", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def wilson(happened: float, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a rate."""
    rate, scale = happened / of, 1 + z * z / of
    middle = (rate + z * z / (2 * of)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / of + z * z / (4 * of * of))
    return middle - half, middle + half


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    stages = parser.add_subparsers(required=True)
    stage = stages.add_parser("features", help="probe every task and seed")
    stage.add_argument("--tasks", default="dev40")
    stage.add_argument("--seeds", type=int, default=4)
    stage.add_argument("--jobs", type=int, default=1)
    stage.add_argument("--count", type=int, help="at most so many; all by default")
    stage.add_argument("--output", type=Path, required=True)
    stage.set_defaults(run=features)
    stage = stages.add_parser("recorded", help="take them from finished edits")
    stage.add_argument("runs", type=Path, nargs="+", help="folders of sparks bench")
    stage.add_argument("--output", type=Path, required=True)
    stage.set_defaults(run=recorded)
    written = {"fit": PACKAGE / "predictor.json", "test": Path("docs/images/screen-test.png")}
    for run in (fit, test):
        stage = stages.add_parser(run.__name__, help=run.__doc__)
        stage.add_argument("--features", type=Path, required=True)
        stage.add_argument(
            "--rows", type=Path, nargs="+", default=[], help="cells.csv, or folders of bench"
        )
        stage.add_argument("--label", default=LABEL)
        stage.add_argument("--output", type=Path, default=written[run.__name__])
        stage.set_defaults(run=run)
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
