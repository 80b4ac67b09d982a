"""Copy the page of `sparks bench` or `sparks ablate` with nothing but what it shows.

    python benchmarks/publish.py RUN DESTINATION

Page, tables, curves, and the videos of the page, without the recipes that they carry (which name
folders of this machine); the tables' main rows are printed as Markdown.
"""

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import av

ROWS = (
    *("P(yes), best", "judge's P(yes), final", "judge says yes", "happened, prompt only"),
    *("happened, final", "strength (1 = just counts)", "continuous, final"),
    *("change outside, final (1 = codec)", "total loss", "critic calls", "denoiser backwards"),
)
TABLES = ("index.html", "table.md", "table.csv", "cells.csv")


def shown(page: str) -> set[str]:
    """The files that a page refers to, relative to it."""
    return {unquote(name) for name in re.findall(r'(?:src|href)="([^"#:]+)"', page)}


def copy(source: Path, destination: Path) -> None:
    """A file as it is, or a video's streams without its metadata."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".mp4":
        shutil.copyfile(source, destination)
        return
    options = {"movflags": "+faststart"}
    with av.open(str(source)) as old, av.open(str(destination), "w", options=options) as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)


def main_rows(table: str) -> Iterator[str]:
    """The parts of `table.md` but those of single tasks, and of its rows those in ROWS."""
    for part in table.split("\n\n"):
        if not part.startswith("| task"):
            lines = part.splitlines()
            kept = [line for line in lines[3:] if line[2:].split(" | ")[0] in ROWS]
            yield "\n".join([*lines[:3], *kept])


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("destination", type=Path)
    options = parser.parse_args(arguments)
    page = (options.run / "index.html").read_text(encoding="utf-8")
    for name in sorted(shown(page) | set(TABLES)):
        copy(options.run / name, options.destination / name)
    print("\n\n".join(main_rows((options.run / "table.md").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
