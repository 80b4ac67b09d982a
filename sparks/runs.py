"""A run on disk: settings, history, best controls, videos and pictures.

config.yaml         resolved settings, from which the run can be repeated
run.json            seeds and source; versions and machine under `cost`
history.jsonl       one row per evaluation; clock and machine under `cost`
best.safetensors    best controls, with metadata
baseline.mp4  edited.mp4  side_by_side.mp4  contact_sheet.png  curve.png
result.json         what `sparks solve --json` prints
"""

import json
import os
import platform
import re
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparks.controls import Controls, save_controls
from sparks.errors import SparksError
from sparks.files import replacing, write_text
from sparks.media import Clip, contact_sheet, side_by_side, write_clip
from sparks.problem import Evaluation

_PACKAGES = ("sound-sparks", "torch", "diffusers", "transformers", "lpips", "av", "numpy")


class Run:
    """One run directory; nothing is written before `begin`.

    Args:
        folder: the directory itself; `runs/<time>-<name>` if None.
        name: of the edit, for the default folder.

    Raises:
        SparksError: the folder holds files already, or cannot be written.
    """

    def __init__(self, folder: Path | None = None, name: str = "edit") -> None:
        self.folder = folder or Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{_slug(name)}"
        self.rows: list[dict[str, Any]] = []
        _check_free(self.folder)

    def begin(self, config: str, facts: Mapping[str, Any], device: str) -> None:
        """Write what is known before the search: settings, seeds, source, versions."""
        write_text(self.folder / "config.yaml", config)
        machine = {
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
            "device": device,
            "platform": platform.platform(),
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in _PACKAGES},
        }
        self._write_json("run.json", {**facts, "cost": machine})

    def record(self, evaluation: Evaluation, best: Evaluation) -> None:
        """Append one row to the history."""
        row = {
            "index": evaluation.index,
            "seed": evaluation.seed,
            "z_sha256": evaluation.z_sha256,
            "losses": dict(evaluation.losses.terms),
            "total": evaluation.total,
            "p_yes": evaluation.p_yes,
            "best": evaluation is best,
            "cost": dict(evaluation.cost),
        }
        self.rows.append(row)
        with (self.folder / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save_best(self, controls: Controls, metadata: Mapping[str, Any]) -> None:
        """Write the best controls; metadata values other than text are stored as JSON."""
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
        save_controls(self.folder / "best.safetensors", controls, texts)

    def save_videos(
        self, source: Clip, baseline: Clip, edited: Clip, recipe: str, pictures: bool = True
    ) -> None:
        """Write the videos and, with `pictures`, what puts them side by side."""
        write_clip(self.folder / "baseline.mp4", baseline, comment=recipe)
        write_clip(self.folder / "edited.mp4", edited, comment=recipe)
        if not pictures:
            return
        trio = {"source": source, "baseline": baseline, "edited": edited}
        write_clip(
            self.folder / "side_by_side.mp4", side_by_side(list(trio.values())), comment=recipe
        )
        rows = {name: clip.frames for name, clip in trio.items()}
        contact_sheet(self.folder / "contact_sheet.png", rows)

    def finish(self, result: Mapping[str, Any], pictures: bool = True) -> None:
        """Write the curve, with `pictures`, and the result."""
        if pictures:
            self._draw_curve()
        self._write_json("result.json", result)

    def _draw_curve(self) -> None:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
        loss = figure.subplots()
        answer = loss.twinx()
        steps = [row["index"] for row in self.rows]
        loss.plot(steps, [row["total"] for row in self.rows], color="tab:blue", label="total loss")
        answer.plot(steps, [row["p_yes"] for row in self.rows], color="tab:orange", label="P(yes)")
        best = [row for row in self.rows if row["best"]][-1:]
        loss.plot([r["index"] for r in best], [r["total"] for r in best], "o", color="tab:blue")
        loss.set(xlabel="evaluation", ylabel="total loss")
        answer.set(ylabel="P(yes)", ylim=(0, 1))
        loss.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=2)
        with replacing(self.folder / "curve.png") as temporary:
            figure.savefig(temporary, format="png")

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(content, indent=2) + "\n")


def _check_free(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise SparksError(f"output {folder} is not empty; choose a new folder or empty it")
    if folder.exists() and not folder.is_dir():
        raise SparksError(f"output {folder} is a file; choose a folder")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise SparksError(f"cannot write output {folder} into {existing}; choose another folder")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "edit"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
