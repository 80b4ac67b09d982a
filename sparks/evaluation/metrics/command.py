"""`sparks measure`: a video beside its source, or what a run has made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.evaluation.metrics.measuring import ALL, Measured, choose, measure, table
from sparks.evaluation.metrics.pairs import read_pair, read_run
from sparks.evaluation.statistics.tables import markdown
from sparks.files import write_text

WRITTEN = "metrics.json"  # into a run's directory


def measure_files(
    what: Path,
    source: Path | None,
    asked: str = ALL,
    *,
    using: Sequence[str] = (),
    output: Path | None = None,
    **told: Any,
) -> tuple[dict[str, Measured], list[str]]:
    """Measure an edit beside `source`, or both videos of a run; what was changed to compare them.

    Args:
        what: a video, or a run directory.
        source: of the edit; of a run, if its source is not where it was.
        asked: groups or names of metrics, separated by commas.
        using: `what=which`, see `Edited.using`.
        output: a JSON file for all that was found; `metrics.json` in the directory of a run.
        told: of `read_pair`; a run knows it itself.

    Raises:
        SparksError: a file or metric that is not there, or an option that does not go with it.
    """
    choice, chosen = choose(asked), parse_using(using)
    said: list[str] = []
    if what.is_dir():
        if any(told.values()):
            raise SparksError(f"{what} is a run, which knows prompts, kept frames and model itself")
        pairs = read_run(what, source, chosen)
        output = output or what / WRITTEN
    elif source is None:
        raise SparksError(f"say what {what} is an edit of: --source VIDEO")
    else:
        pair, said = read_pair(what, source, using=chosen, **told)
        pairs = {what.name: pair}
    found = {name: measure(pair, choice) for name, pair in pairs.items()}
    if output is not None:
        content = {name: one.as_json() for name, one in found.items()} | {"changed": said}
        write_text(output, json.dumps(content, indent=1) + "\n")
    return found, said


def parse_using(words: Sequence[str]) -> dict[str, str]:
    """Read `what=which`.

    Raises:
        SparksError: one without `=`.
    """
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise SparksError(f"--with {word!r}: write e.g. clip=FOLDER, sam2=FOLDER, mask=VIDEO")
        found[key] = value
    return found


def as_markdown(found: Mapping[str, Measured], said: Sequence[str] = ()) -> str:
    """The figures, then whatever one has to know of them."""
    notes = [f"- {note}" for note in said]
    first = next(iter(found.values()))
    notes += [f"- {what}: {which}" for what, which in first.using.items()]
    notes += [f"- not measured: {name}: {why}" for name, why in first.missing.items()]
    return markdown(*table(found.items())) + ("\n" + "\n".join(notes) if notes else "")
