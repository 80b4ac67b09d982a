"""Clips to edit: uploaded, or of the bundled world; each a folder named by what it holds."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.files import read_json, write_text
from sparks.pocket.tasks import PocketTask, held_out
from sparks.studio.edits.looking import apart
from sparks.studio.uploads import plain_name

_ID = re.compile(r"[0-9a-f]{16}")
_SHORTEST = 0.2  # seconds


@dataclass(frozen=True)
class Stored:
    """A clip that can be edited.

    Attributes:
        id: the beginning of its digest.
        folder: where it is, with what a browser shows of it.
        video: the file itself.
        name: as it was called.
        facts: frames, fps, seconds, sound, notes; of a bundled clip, also its prompts.
    """

    id: str
    folder: Path
    video: Path
    name: str
    facts: dict[str, Any]


class Clips:
    """All clips of a studio.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> list[Stored]:
        """Those that were looked at, latest first."""
        folders = [path.parent for path in self.folder.glob("*/facts.json")]
        found = [(path.stat().st_mtime, self._load(path)) for path in folders]
        return [clip for _, clip in sorted(found, key=lambda pair: -pair[0]) if clip is not None]

    def get(self, id: str) -> Stored:
        """One of them.

        Raises:
            SparksError: there is none of this name.
        """
        found = self._load(self.folder / id) if _ID.fullmatch(id) else None
        if found is None:
            raise SparksError("this clip is not here (any more); choose another")
        return found

    def add(
        self, video: Path, digest: str, name: str, more: dict[str, Any] | None = None
    ) -> Stored:
        """Take a file in, which is looked at first.

        Args:
            video: is moved.
            more: facts besides those that are seen.

        Raises:
            SparksError: it is no video that can be edited.
        """
        folder = self.folder / digest[:16]
        if (folder / "facts.json").is_file():
            video.unlink(missing_ok=True)
            return self.get(folder.name)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".looking-") as scratch:
            inside = Path(scratch) / "clip"
            inside.mkdir()
            shutil.move(video, inside / _safe(name))
            apart("look", inside / _safe(name), inside)
            facts = read_json(inside / "facts.json")
            facts |= {"name": plain_name(name), "file": _safe(name), **(more or {})}
            write_text(inside / "facts.json", json.dumps(facts))
            shutil.rmtree(folder, ignore_errors=True)
            inside.rename(folder)
        return self.get(folder.name)

    def bundled(self, task: PocketTask) -> Stored:
        """A clip of the bundled world."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".bundled-") as scratch:
            video = Path(scratch) / "clip.mp4"
            task.source.write(video, task.static_prompt)
            digest = hashlib.sha256(video.read_bytes()).hexdigest()
            prompts = {"prompt": task.prompt, "static_prompt": task.static_prompt}
            return self.add(video, digest, f"{task.name}.mp4", prompts)

    def cut(self, clip: Stored, start: float, end: float) -> Path:
        """The file of a clip, or of its part between two seconds.

        Raises:
            SparksError: they are no part of it.
        """
        length = clip.facts["seconds"]
        end = min(end, length) if end > 0 else length
        if not 0 <= start <= end - _SHORTEST:
            raise SparksError(f"seconds {start:g} to {end:g} are no part of {clip.name}")
        period = 1 / clip.facts["fps"]
        if start < period and end > length - period:
            return clip.video
        output = clip.folder / f"cut-{start:.3f}-{end:.3f}.mp4"
        if not output.is_file():
            apart("cut", clip.video, output, start, end)
        return output

    def _load(self, folder: Path) -> Stored | None:
        try:
            facts = read_json(folder / "facts.json")
            return Stored(folder.name, folder, folder / facts["file"], facts["name"], facts)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def bundled_tasks() -> dict[str, PocketTask]:
    """Clips of the bundled world, by names for people."""
    return {task.prompt: task for task in held_out()}


def _safe(name: str) -> str:
    """A file name that no command and no system takes for anything else."""
    path = Path(plain_name(name))
    stem = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-")[:60] or "clip"
    suffix = path.suffix.lower()
    return f"{stem}{suffix if re.fullmatch(r'[.][a-z0-9]{1,5}', suffix) else ''}"
