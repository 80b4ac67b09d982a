"""The page of a run, made from its directory alone, finished or not: what `sparks report` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparks import page
from sparks.errors import SparksError
from sparks.files import write_text
from sparks.runs.facts import read_facts
from sparks.runs.folder import SOURCE, draw_curve
from sparks.runs.progress import verdict
from sparks.runs.result import read_result
from sparks.runs.watch import history, read_json
from sparks.search.history import HistoryRow

_MADE = {
    "baseline.mp4": "prompt only",
    "edited.mp4": "edit",
    "picked.mp4": "picked by eye",
}
_ROW = "side_by_side.mp4"
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
    facts = read_facts(run / "run.json") if (run / "run.json").exists() else {}
    result = _result(run)
    if rows:
        draw_curve(run / "curve.png", rows)
    sections = [
        page.paragraph(_state(rows, result)),
        page.paragraph(judged(result)) if judged(result) else "",
        _videos(run, result),
        *(
            page.section(heading, page.image(f"{name}.png", heading))
            for name, heading in _PICTURES.items()
            if (run / f"{name}.png").exists()
        ),
        _evaluations(rows),
        page.section("Cost", _pairs(_cost(rows, facts, result))),
        page.section("Settings", page.code(settings.read_text(encoding="utf-8", errors="replace"))),
        page.section("Again", page.code("sparks solve --recipe edited.mp4")),
    ]
    title = str(facts.get("prompt") or run.resolve().name)
    write_text(run / "index.html", page.page(title, *filter(None, sections)))
    return run / "index.html"


def _result(run: Path) -> dict[str, Any]:
    """What `result.json` holds, nothing if it is not there (yet).

    Raises:
        SparksError: something in it is of another type than was written.
    """
    path = run / "result.json"
    result = read_json(path)
    if not _transferred(run):
        return read_result(result, path).json() if result else {}
    if any(not isinstance(v, float | None) for n, v in result.items() if n.startswith("p_yes")):
        raise SparksError(f"{path} cannot be read: a P(yes) in it is no number")
    return result


def _transferred(run: Path) -> bool:
    return "p_yes_transfer" in read_json(run / "result.json")


def _state(rows: list[HistoryRow], result: Mapping[str, Any]) -> str:
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


def _videos(run: Path, result: Mapping[str, Any]) -> str:
    """The source first; what was made of it beside it, with what critic and judge say."""
    names = {SOURCE: "source", **_MADE}
    videos = {
        _caption(name, text, run, result): name
        for name, text in names.items()
        if (run / name).exists()
    }
    if not (run / "edited.mp4").exists():
        for preview in sorted((run / "previews").glob("*.mp4"))[-1:]:
            videos[f"best so far, evaluation {int(preview.stem)}"] = f"previews/{preview.name}"
    parts = [page.video_row("", videos, large=True)] if videos else []
    if (run / _ROW).exists() and not (run / SOURCE).exists():  # of a run from before it was kept
        parts = [page.video_row("", {"source, prompt only, edit": _ROW}, large=True)]
    return page.section("Videos", *parts) if parts else ""


def _caption(name: str, text: str, run: Path, result: Mapping[str, Any]) -> str:
    """A name, and below it every P(yes) that there is of the video."""
    if name == "picked.mp4":
        picked = read_json(run / "picked.json")
        lines = {"critic": picked.get("p_yes"), "judge": picked.get("p_yes_judge")}
        text = f"{text}, evaluation {picked.get('evaluation')}"
    else:
        what = name.removesuffix(".mp4")
        what = "transfer" if what == "edited" and f"p_yes_{what}" not in result else what
        lines = {"critic": result.get(f"p_yes_{what}"), "judge": result.get(f"p_yes_judge_{what}")}
    said = [f"{who} {p_yes:.3f}" for who, p_yes in lines.items() if isinstance(p_yes, float)]
    return "\n".join([text, *([f"P(yes): {', '.join(said)}"] if said else [])])


def judged(result: Mapping[str, Any]) -> str:
    """What the held-out judge says of an edit; nothing without one.

    Examples:
        >>> judged({"p_yes_judge_edited": 0.1})
        'The held-out judge, which the search has not seen, says no: P(yes) 0.100.'
    """
    after, before = (result.get(f"p_yes_judge_{name}") for name in ("edited", "baseline"))
    if after is None:
        return ""
    told = f" (prompt only {before:.3f})" if before is not None else ""
    answer = "yes" if after > 0.5 else "no"
    who = "The held-out judge, which the search has not seen,"
    return f"{who} says {answer}: P(yes) {after:.3f}{told}."


def _evaluations(rows: list[HistoryRow]) -> str:
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


def _cost(
    rows: list[HistoryRow], facts: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[str, Any]:
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
