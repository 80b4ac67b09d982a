"""The pages that show every edit of a `sparks bench --sheets`: a table and all pictures.

    python benchmarks/sheets.py RUN docs/images/pocket25

Copies the pictures there; the Markdown is for a page in `docs`.
"""

import argparse
import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

COLUMNS = {
    "p_yes_baseline": "P(yes), prompt only",
    "p_yes_edited": "P(yes), tuned",
    "p_yes_judge_edited": "judge's P(yes), tuned",
    "happened_baseline": "happened, prompt only",
    "happened_edited": "happened, tuned",
    "strength_edited": "strength",
    "continuous_edited": "continuous",
    "outside_edited": "change outside (1 = codec)",
}
FORMS = {"p_yes": "{:.3f}", "strength": "{:.2f}", "outside": "{:.2f}"}


def value(name: str, text: str) -> str:
    """A cell of the table."""
    if text in ("True", "False", ""):
        return {"True": "yes", "False": "no"}.get(text, "")
    form = next(form for start, form in FORMS.items() if name.startswith(start))
    return form.format(float(text))


def table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """One line an edit."""
    yield "| task | prompt | " + " | ".join(COLUMNS.values()) + " |"
    yield "| --- | --- |" + " ---: |" * len(COLUMNS)
    for row in rows:
        cells = [value(name, row[name]) for name in COLUMNS]
        yield f"| [{row['task']}](#{row['task']}) | {row['prompt']} | " + " | ".join(cells) + " |"


def pictures(rows: Sequence[Mapping[str, str]], folder: str) -> Iterator[str]:
    """A heading and a contact sheet for each edit."""
    for row in rows:
        task, prompt = row["task"], row["prompt"]
        yield f"### {task}\n\n{prompt}\n\n![{prompt}]({folder}/{task}.png)\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path)
    options = parser.parse_args(arguments)
    with (options.run / "cells.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    options.pictures.mkdir(parents=True, exist_ok=True)
    for row in rows:
        shutil.copyfile(
            options.run / "sheets" / f"{row['task']}.png", options.pictures / f"{row['task']}.png"
        )
    shown = f"{options.pictures.parent.name}/{options.pictures.name}"
    print("\n".join([*table(rows), "", *pictures(rows, shown)]))


if __name__ == "__main__":
    main()
