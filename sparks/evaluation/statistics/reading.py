"""Tables as files: comma-separated text, or one of the paper's by its name."""

from __future__ import annotations

import csv
import io
from importlib import resources
from pathlib import Path

from sparks.errors import SparksError

Cells = list[dict[str, str]]

PAPER = ("table_1", "table_2", "table_s1", "table_s2")


def read_table(source: str) -> Cells:
    """The rows of a CSV file, or of one of PAPER, by column.

    Raises:
        SparksError: no such table, or one whose rows are not all of one length.
    """
    path = Path(source)
    if source in PAPER:
        path = Path(str(resources.files("sparks") / "evaluation" / "data" / f"{source}.csv"))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SparksError(
            f"no table at {source}; give a CSV file, or one of {', '.join(PAPER)}"
        ) from error
    return parse_table(text, source)


def parse_table(text: str, where: str) -> Cells:
    """Rows of comma-separated text under a header.

    Raises:
        SparksError: a row is longer or shorter than the header, or there is none.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows = list(reader)
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise SparksError(f"{where} line {line} has not as many cells as the header")
    if not rows:
        raise SparksError(f"{where} has no rows below its header")
    return rows
