"""What was filled in for a new edit, as settings that `sparks solve` takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from sparks import registry
from sparks.errors import SparksError, shorten
from sparks.runs.keeping import read_keep
from sparks.search.budget import Budget
from sparks.settings.layers import assignments, merge, without_code
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings
from sparks.studio.edits.index import Entry

# What may be set by hand besides the fields. Nothing here names a file, a folder or code.
_MORE = {
    *("sampling", "guidance", "objective", "space", "solver", "critic", "clip", "editor"),
    *("negative_prompt", "audio_prompt", "seed", "dtype"),
}
_PLAIN = re.compile(r"[A-Za-z0-9_+-]*")
_FIELDS = (
    *("prompt", "static_prompt", "model", "seed", "keep", "sound", "preview_every"),
    "prefix_frames",
)
_MODES = ("text", "audio", "both")


@dataclass(frozen=True)
class Wanted:
    """A form that was filled in: what is to be edited, and how.

    Attributes:
        clip: id of the clip.
        start, end: seconds of it.
        settings: all else, as of `sparks solve --config`.
    """

    clip: str
    start: float
    end: float
    settings: Settings


def read_form(form: Mapping[str, str], models: list[str]) -> Wanted:
    """Check a form and make settings of it.

    Args:
        form: as a browser sends it.
        models: which may be chosen.

    Raises:
        SparksError: naming the field and what may stand there.
    """
    settings: Settings = {
        "prompt": _prompt(form),
        "static_prompt": _line(form, "static_prompt") or None,
        "model": _one_of(form, "model", models),
        "budget": _budget(form),
        "seed": _whole(form, "seed", 42),
        "keep": _keep(form),
        "sound": _one_of(form, "sound", ["source", "tuned", "none"]),
        "preview_every": _whole(form, "preview_every", 1),
    }
    if form.get("solver"):
        settings["solver"] = {"name": _one_of(form, "solver", registry.solvers.names())}
    if form.get("mode"):
        settings["space"] = {"mode": _one_of(form, "mode", _MODES)}
    settings |= _region(form)
    settings = merge(settings, _more(form.get("more", "")))
    without_code(settings, "the form", {})
    Config.resolve({key: value for key, value in settings.items() if value is not None})
    settings = {key: value for key, value in settings.items() if value is not None}
    start, end = _number(form, "start", 0.0), _number(form, "end", 0.0)
    return Wanted(form.get("clip", ""), start, end, settings)


def filled(settings: Settings, *, whole: bool) -> dict[str, str]:
    """The form that gives these settings again, as far as it has fields.

    Args:
        settings: of an earlier edit.
        whole: they are all that there are, defaults included, of which only fields are taken.
    """
    limits = Budget.parse(str(settings.get("budget") or "qwen_calls=30")).limits()
    window = settings.get("window")
    fields = {
        **{name: settings.get(name) for name in _FIELDS},
        "solver": (settings.get("solver") or {}).get("name"),
        "mode": (settings.get("space") or {}).get("mode"),
        "calls": limits.get("qwen_calls"),
        "time": f"{limits['wall_clock']:g}s" if "wall_clock" in limits else None,
        "region": "window" if window else "prefix",
        "window_start": window[0] if window else None,
        "window_end": window[1] if window else None,
        "more": "" if whole else "\n".join(_lines(settings)),
    }
    return {name: str(value) for name, value in fields.items() if value is not None}


def _lines(settings: Settings) -> Iterator[str]:
    """What no field says, a line each."""
    for key in sorted(_MORE & settings.keys()):
        value = settings[key]
        own = {"solver": "name", "space": "mode"}.get(key)
        for inner, each in value.items() if isinstance(value, dict) else ():
            if inner != own:
                yield f"{key}.{inner}={json.dumps(each)}"
        if not isinstance(value, dict) and key != "seed":
            yield f"{key}={json.dumps(value)}"


def unknown_words(prompts: list[str | None], words: tuple[str, ...]) -> list[str]:
    """Words that a model does not know; nothing for one that reads any text."""
    if not words:
        return []
    said = " ".join(prompt for prompt in prompts if prompt).split()
    return [word for word in dict.fromkeys(said) if word not in words]


def expected_seconds(
    entries: list[Entry], settings: Settings, solver: str, lengths: Mapping[str, float]
) -> float | None:
    """How long such an edit took before, by the medians of earlier ones; None without any.

    Args:
        entries: earlier runs, latest first.
        settings: of the edit.
        solver: its own or the model's.
        lengths: seconds of the whole process, loading included, of those runs where it is known.
    """
    budget = Budget.parse(settings["budget"])
    count = min((c for c in (budget.qwen_calls, budget.renders) if c is not None), default=None)
    alike = [
        entry
        for entry in entries
        if entry.model == settings["model"]
        and entry.solver == solver
        and entry.state == "finished"
        and entry.seconds
        and entry.evaluations
        and entry.whole is not None
        and entry.whole >= entry.seconds
    ][:20]
    if not alike:
        return None
    each = median(entry.seconds / entry.evaluations for entry in alike if entry.seconds)
    around = median(
        lengths.get(entry.path, entry.whole or 0) - (entry.seconds or 0) for entry in alike
    )
    searching = each * count if count is not None else float("inf")
    return around + min(searching, budget.wall_clock or float("inf"))


def _prompt(form: Mapping[str, str]) -> str:
    prompt = _line(form, "prompt")
    if not prompt:
        raise SparksError("the prompt is empty; say what the edit shall show")
    return prompt


def _line(form: Mapping[str, str], name: str) -> str:
    return " ".join(form.get(name, "").split())


def _one_of(form: Mapping[str, str], name: str, allowed: Any) -> str:
    chosen = form.get(name) or next(iter(allowed))
    if chosen not in allowed:
        raise SparksError(f"{name} {shorten(chosen)!r} is none of {', '.join(allowed)}")
    return chosen


def _number(form: Mapping[str, str], name: str, default: float) -> float:
    text = form.get(name, "").strip()
    try:
        value = float(text) if text else default
        if value != value or abs(value) == float("inf"):
            raise ValueError
    except ValueError:
        raise SparksError(f"{name} {shorten(text)!r} is no number") from None
    return value


def _whole(form: Mapping[str, str], name: str, default: int) -> int:
    value = _number(form, name, default)
    if value != int(value) or value < 0:
        raise SparksError(f"{name} {value:g} is no whole number from 0")
    return int(value)


def _budget(form: Mapping[str, str]) -> str:
    calls, time = _whole(form, "calls", 30), form.get("time", "").strip()
    if "," in time:
        raise SparksError(f"time {shorten(time)!r} is no time, e.g. 10m")
    return str(Budget.parse(f"qwen_calls={calls}" + (f",wall_clock={time}" if time else "")))


def _keep(form: Mapping[str, str]) -> str:
    keep = form.get("keep", "").strip() or "all"
    read_keep(keep)
    return keep


def _region(form: Mapping[str, str]) -> Settings:
    """What of the clip stays: its beginning, or all but a window."""
    if form.get("region") == "window":
        window = (_number(form, "window_start", 0.0), _number(form, "window_end", 0.0))
        if not 0 <= window[0] < window[1]:
            raise SparksError(f"the window {window[0]:g} to {window[1]:g} s holds no time")
        return {"window": window}
    return {"prefix_frames": _whole(form, "prefix_frames", 5)}


def _more(text: str) -> Settings:
    """Lines of `key=value`, as of `--set`."""
    settings = assignments(line.strip() for line in text.splitlines() if line.strip())
    for key, value in settings.items():
        if key not in _MORE:
            raise SparksError(f"{key} cannot be set here; choose from {', '.join(sorted(_MORE))}")
        if not key.endswith("_prompt"):
            _check_plain(key, value)
    return settings


def _check_plain(key: str, value: Any) -> None:
    """Refuse what could name a file, a folder, a model or code."""
    if isinstance(value, dict):
        for inner, each in value.items():
            if inner == "model":
                raise SparksError(f"{key}.model cannot be set here; use sparks solve")
            _check_plain(f"{key}.{inner}", each)
    elif isinstance(value, list):
        for each in value:
            _check_plain(key, each)
    elif isinstance(value, str) and not _PLAIN.fullmatch(value):
        raise SparksError(f"{key}={shorten(value)!r} cannot be set here; use sparks solve")
