"""The page of a run, made from its directory alone, finished or not: what `sparks report` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparks import page
from sparks.errors import SparksError
from sparks.files import write_text
from sparks.runs.folder import draw_curve
from sparks.runs.progress import verdict
from sparks.runs.result import read_result
from sparks.runs.watch import history, read_json
from sparks.search.history import Row

_VIDEOS = {"baseline": "prompt only", "edited": "edited", "side_by_side": "all in a row"}
_PICTURES = {
    "contact_sheet": "Frames",
    "curve": "Loss and P(yes) over the search",
    "gap": "When the edit shows",
}


def report(run: Path) -> Path:
    """Write `index.html` into a run directory.

    Videos, contact sheet, curves, evaluations, cost and settings: whatever there is by now.

    Raises:
        SparksError: there is no run.
    """
    settings = run / "config.yaml"
    if not settings.is_file() or not ((run / "run.json").is_file() or _transferred(run)):
        raise SparksError(f"no run at {run}; name a run directory")
    if not page.is_page(run / "index.html"):
        raise SparksError(f"{run / 'index.html'} is not a page of sparks; move it away first")
    rows = history(run) if (run / "history.jsonl").exists() else []
    facts, result = read_json(run / "run.json"), read_json(run / "result.json")
    if rows:
        draw_curve(run / "curve.png", rows)
    sections = [
        page.paragraph(_state(rows, result)),
        _videos(run),
        *(
            page.section(heading, page.image(f"{name}.png", heading))
            for name, heading in _PICTURES.items()
            if (run / f"{name}.png").exists()
        ),
        _evaluations(rows),
        page.section("Cost", _pairs(_cost(rows, facts, result))),
        page.section("Settings", page.code(settings.read_text(encoding="utf-8"))),
        page.section("Again", page.code("sparks solve --recipe edited.mp4")),
    ]
    title = str(facts.get("prompt") or run.resolve().name)
    write_text(run / "index.html", page.page(title, *filter(None, sections)))
    return run / "index.html"


def _transferred(run: Path) -> bool:
    return "p_yes_transfer" in read_json(run / "result.json")


def _state(rows: list[Row], result: Mapping[str, Any]) -> str:
    if "stopped_by" in result:
        return verdict(read_result(result, Path("result.json")))
    if "p_yes_transfer" in result:
        return (
            f"Controls of {result['controls']}: P(yes) {result['p_yes_transfer']:.3f} with them, "
            f"{result['p_yes_baseline']:.3f} without."
        )
    best = [row for row in rows if row["best"]][-1:]
    so_far = "".join(f"; the best so far has P(yes) {row['p_yes']:.3f}" for row in best)
    return f"Not finished: {len(rows)} evaluations{so_far}."


def _videos(run: Path) -> str:
    videos = {
        text: f"{name}.mp4" for name, text in _VIDEOS.items() if (run / f"{name}.mp4").exists()
    }
    if "edited" not in videos:
        for preview in sorted((run / "previews").glob("*.mp4"))[-1:]:
            videos[f"best so far, evaluation {int(preview.stem)}"] = f"previews/{preview.name}"
    return page.section("Videos", page.video_row("", videos)) if videos else ""


def _evaluations(rows: list[Row]) -> str:
    if not rows:
        return ""
    terms = list(rows[0]["losses"])
    header = ["evaluation", "best", "P(yes)", "total", *terms, "seconds"]
    cells = [
        [
            *(str(row["index"] + 1), "best" if row["best"] else ""),
            *map(_number, (row["p_yes"], row["total"], *(row["losses"].get(t) for t in terms))),
            _number(row["cost"].get("wall_clock")),
        ]
        for row in rows
    ]
    return page.section("Evaluations", page.table(header, cells))


def _cost(rows: list[Row], facts: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    spent = result.get("spent") or (rows[-1]["cost"] if rows else {})
    machine = dict(facts.get("cost", {}))
    versions = machine.pop("versions", {})
    return {**spent, **machine, **{f"{name} version": text for name, text in versions.items()}}


def _pairs(values: Mapping[str, Any]) -> str:
    return page.table(
        ["", ""], [[name.replace("_", " "), _number(v)] for name, v in values.items()]
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
