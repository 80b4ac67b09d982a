"""What a finished `sparks bench` or `sparks ablate` shows, as docs/evidence.md says it.

    python benchmarks/evidence.py RUN [--against SETTING] [--judge again]

For every setting: how much tuning adds to the prompt alone (paired, by task and noise seed), plain
rates with Wilson's intervals, how often the judge is right of edits that happened and of those that
did not, whether its errors are the guide's, what happened by action. Then all settings side by side
with intervals over tasks and seeds, and against each other or against one, paired.

`--judge again` asks the judge that is shipped now about the videos that were kept, where the edits
are older than it; its answers are kept beside them (`judged.json`) until it changes once more.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rejudge import judged_again

from sparks.evaluation.statistics.tables import (
    RESAMPLES,
    Estimate,
    difference,
    estimate,
    markdown,
    wilson,
)
from sparks.experiments.cells import finished, load_plan
from sparks.experiments.executors.processes import Processes
from sparks.models.quiet import quiet_libraries

Row = dict[str, Any]
SHOWN = {
    "happened_baseline": "happened, prompt only",
    "happened_edited": "happened",
    "true_edited": "happened and shape kept",
    "p_yes_edited": "guide's P(yes)",
    "judge_agrees": "judge says yes",
    "outside_edited": "change outside (1 = codec)",
    "sharpness_edited": "sharpness in motion",
}
COSTS = {
    "qwen_calls": ("critic calls", ".1f"),
    "denoiser_backwards": ("passes back through the denoiser", ".0f"),
    "wall_clock": ("seconds", ".1f"),
}
BETWEEN = {
    "happened_edited": "happened",
    "true_edited": "happened, shape kept",
    "p_yes_edited": "guide's P(yes)",
    "p_yes_judge_edited": "judge's P(yes)",
}


def rate(count: int, of: int) -> str:
    """`35 of 40: 0.88 [0.74, 0.95]`."""
    if not of:
        return "none"
    low, high = wilson(count, of)
    return f"{count} of {of}: {count / of:.2f} [{low:.2f}, {high:.2f}]"


def paired(estimate: Estimate | None) -> str:
    """A difference with its interval; one that holds 0 is called none."""
    if estimate is None:
        return ""
    text = f"{estimate.mean:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    return f"{text}, none" if estimate.low <= 0 <= estimate.high else text


def gained(rows: Sequence[Row], column: str) -> Estimate | None:
    """What tuning adds to the prompt alone."""
    before, after = (
        [row | {column: row[f"{column}_{video}"]} for row in rows]
        for video in ("baseline", "edited")
    )
    return difference(after, before, column)


def says_yes(rows: Sequence[Row], video: str) -> Callable[[bool], list[bool]]:
    """The judge's answers of those videos that happened, or of those that did not."""
    return lambda happened: [
        row[f"p_yes_judge_{video}"] > 0.5 for row in rows if row[f"happened_{video}"] == happened
    ]


def judge(rows: Sequence[Row], videos: Sequence[str]) -> list[str]:
    """Said yes of what happened, said no of what did not, and the mean of both rates."""
    yes, no = (
        [answer for video in videos for answer in says_yes(rows, video)(happened)]
        for happened in (True, False)
    )
    right, rejected = sum(yes), len(no) - sum(no)
    balanced = f"{(right / len(yes) + rejected / len(no)) / 2:.2f}" if yes and no else ""
    return [rate(right, len(yes)), rate(rejected, len(no)), balanced]


def of_setting(rows: Sequence[Row]) -> str:
    """Everything that is said of one setting."""
    accepted = [row for row in rows if row["accepted"]]
    count = {name: sum(row[name] for row in rows) for name in ("happened_edited", "true_edited")}
    lines = [
        ["happened, tuned - prompt only", paired(gained(rows, "happened"))],
        ["happened and shape kept, tuned - prompt only", paired(gained(rows, "true"))],
        ["happened, tuned", rate(count["happened_edited"], len(rows))],
        ["happened and shape kept, tuned", rate(count["true_edited"], len(rows))],
        ["happened, prompt only", rate(sum(row["happened_baseline"] for row in rows), len(rows))],
        ["guide accepts", rate(len(accepted), len(rows))],
        ["of those, happened", rate(sum(r["happened_edited"] for r in accepted), len(accepted))],
    ]
    text = markdown(["", "edits, Wilson's interval"], lines)
    return "\n".join([text, judgement(rows), by_action(rows)])


def judgement(rows: Sequence[Row]) -> str:
    """How often the judge is right, and whether it is wrong where the guide is."""
    judged = [
        ["tuned", *judge(rows, ["edited"])],
        ["prompt only and tuned", *judge(rows, ["baseline", "edited"])],
    ]
    header = ["judge, of edits", "yes of what happened", "no of what did not", "balanced"]
    return markdown(header, judged) + "\n" + errors(rows)


def errors(rows: Sequence[Row]) -> str:
    """Whether the judge is wrong where the guide is, by either measurement."""
    lines = []
    for truth, videos in itertools.product(("happened", "true"), (["edited"], TOGETHER)):
        tasks, guide, judged = wrong(rows, truth, videos)
        if len(set(guide)) < 2 or len(set(judged)) < 2:
            correlation = "none: one of them makes no errors, or nothing else"
        else:
            correlation = correlate(tasks, np.array(guide), np.array(judged))
        pairs = list(zip(guide, judged, strict=True))
        where = {
            is_wrong: [theirs for mine, theirs in pairs if mine == is_wrong] for is_wrong in (1, 0)
        }
        cells = [rate(sum(where[is_wrong]), len(where[is_wrong])) for is_wrong in (1, 0)]
        lines.append([f"{CALLED[truth]}, {' and '.join(videos)}", correlation, *cells])
    header = ["errors of judge and guide", "correlation", "judge wrong where the guide is"]
    return markdown([*header, "where it is right"], lines)


TOGETHER = ["baseline", "edited"]
CALLED = {"happened": "happened", "true": "happened and shape kept"}


def wrong(
    rows: Sequence[Row], truth: str, videos: Sequence[str]
) -> tuple[list[str], list[int], list[int]]:
    """Tasks of the videos, and 1 where the guide is wrong of one, and where the judge is."""
    known = [(row, v) for v in videos for row in rows if row.get(f"{truth}_{v}") is not None]
    says = [(row[f"p_yes_{v}"] > 0.5, row[f"p_yes_judge_{v}"] > 0.5) for row, v in known]
    is_true = [row[f"{truth}_{v}"] for row, v in known]
    guide, judged = (
        [int(answers[who] != fact) for answers, fact in zip(says, is_true, strict=True)]
        for who in (0, 1)
    )
    return [row["task"] for row, _ in known], guide, judged


def correlate(tasks: Sequence[str], one: np.ndarray, other: np.ndarray) -> str:
    """Pearson's r (of two yes-or-no columns: phi), and its interval over tasks."""
    rng, groups = np.random.default_rng(0), [np.flatnonzero(np.array(tasks) == t) for t in {*tasks}]
    groups.sort(key=lambda group: group[0])
    drawn = []
    for picks in rng.integers(len(groups), size=(RESAMPLES, len(groups))):
        chosen = np.concatenate([groups[pick] for pick in picks])
        if one[chosen].std() and other[chosen].std():
            drawn.append(np.corrcoef(one[chosen], other[chosen])[0, 1])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{np.corrcoef(one, other)[0, 1]:+.2f} [{low:+.2f}, {high:+.2f}]"


def by_action(rows: Sequence[Row]) -> str:
    """How many edits of each action happened, and kept their object's shape."""

    def action(row: Row) -> str:
        return str(row["task"]).partition("-")[2]

    actions = list(dict.fromkeys(action(row) for row in rows))
    counts = {
        name: [str(sum(row[column] for row in rows if action(row) == each)) for each in actions]
        for name, column in (("happened", "happened_edited"), ("shape kept too", "true_edited"))
    }
    counts["edits"] = [str(sum(action(row) == each for row in rows)) for each in actions]
    return markdown(["", *actions], [[name, *each] for name, each in counts.items()])


def summary(rows: Sequence[Row], against: str | None = None) -> str:
    """All settings side by side, their paired differences, and the judge of all edits together."""
    of = grouped(rows)
    parts = [side_by_side(of), *([between(of, against)] if len(of) > 1 else []), judgement(rows)]
    return "\n".join(parts)


Key = tuple[str, str | None]  # setting, what it was matched by


def grouped(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Rows of each setting."""
    of: dict[Key, list[Row]] = {}
    for row in rows:
        of.setdefault((row["setting"], row["match"]), []).append(row)
    return of


def called(key: Key) -> str:
    """A setting's name in tables."""
    return key[0] + (f" ({key[1]})" if key[1] else "")


def side_by_side(of: dict[Key, list[Row]]) -> str:
    """Means with intervals over tasks and seeds; settings across."""
    lines = [["space (dimensions)", *(space(rows) for rows in of.values())]]
    lines.append(["edits", *(str(len(rows)) for rows in of.values())])
    forms = {name: (title, ".2f") for name, title in SHOWN.items()} | COSTS
    for name, (title, form) in forms.items():
        lines.append([title, *(mean(estimate(rows, name), form) for rows in of.values())])
    gains = (paired(gained(rows, "happened")) for rows in of.values())
    lines.insert(4, ["happened, tuned - prompt only", *gains])
    taken = ([r["happened_edited"] for r in rows if r["accepted"]] for rows in of.values())
    lines.append(["of those the guide accepts, happened", *(rate(sum(t), len(t)) for t in taken)])
    return markdown(["mean [95 % interval]", *map(called, of)], lines)


def space(rows: Sequence[Row]) -> str:
    """What was searched."""
    return ", ".join(dict.fromkeys(f"{row.get('space')} ({row.get('dim')})" for row in rows))


def mean(found: Estimate | None, form: str) -> str:
    """With its interval, where it has a width."""
    if found is None:
        return ""
    if found.low == found.high:
        return f"{found.mean:{form}}"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"


def between(of: dict[Key, list[Row]], against: str | None = None) -> str:
    """The settings against each other, or all against one, by task and noise seed."""
    pairs = list(itertools.combinations(of, 2))
    if against is not None:
        first = next(key for key in of if key[0] == against)
        pairs = [(key, first) for key in of if key != first]
    lines = []
    for one, other in pairs:
        cells = (paired(difference(of[one], of[other], column)) for column in BETWEEN)
        lines.append([f"{called(one)} - {called(other)}", *cells])
    return markdown(["paired difference", *BETWEEN.values()], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--against", metavar="SETTING", help="differences to this one only")
    parser.add_argument("--judge", choices=["again"], help="ask the present judge of all videos")
    parser.add_argument("--jobs", type=int, default=1, help="processes that ask it")
    options = parser.parse_args(arguments)
    rows = finished(options.run, load_plan(options.run))
    if options.judge:
        with quiet_libraries():
            rows = judged_again(options.run, rows, Processes(options.jobs))
    of = grouped(rows)
    if options.against not in (None, *(key[0] for key in of)):
        parser.error(f"no setting {options.against!r}; there are {', '.join(map(called, of))}")
    for (setting, match), own in of.items():
        print(f"## {setting}{f', equal {match}' if match else ''}\n\n{of_setting(own)}")
    print(f"## Side by side\n\n{summary(rows, options.against)}")


if __name__ == "__main__":
    main()
