"""What a finished `sparks bench` or `sparks ablate` shows, as docs/evidence.md says it.

    python benchmarks/evidence.py RUN

For every setting: how much tuning adds to the prompt alone (paired, by task and noise seed), plain
rates with Wilson's intervals, how often the judge is right of edits that happened and of those that
did not, what happened by action; then the settings against each other, paired.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparks.evaluation.statistics.tables import Estimate, difference, markdown, wilson
from sparks.experiments.cells import finished, load_plan

Row = dict[str, Any]
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
    judged = [
        ["tuned", *judge(rows, ["edited"])],
        ["prompt only and tuned", *judge(rows, ["baseline", "edited"])],
    ]
    header = ["judge, of edits", "yes of what happened", "no of what did not", "balanced"]
    return text + "\n" + markdown(header, judged) + "\n" + by_action(rows)


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


def between(rows: Sequence[Row]) -> str:
    """The settings against each other, by task and noise seed."""
    settings = list(dict.fromkeys((row["setting"], row["match"]) for row in rows))
    of = {key: [row for row in rows if (row["setting"], row["match"]) == key] for key in settings}
    lines = []
    for one, other in itertools.combinations(settings, 2):
        names = " - ".join(name + (f" ({match})" if match else "") for name, match in (one, other))
        lines.append([names, *(paired(difference(of[one], of[other], c)) for c in BETWEEN)])
    return markdown(["paired difference", *BETWEEN.values()], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args(arguments).run
    rows = finished(run, load_plan(run))
    settings = list(dict.fromkeys((row["setting"], row["match"]) for row in rows))
    for setting, match in settings:
        own = [row for row in rows if (row["setting"], row["match"]) == (setting, match)]
        print(f"## {setting}{f', equal {match}' if match else ''}\n\n{of_setting(own)}")
    if len(settings) > 1:
        print(between(rows))


if __name__ == "__main__":
    main()
