"""What the pages ask for: edits are queued, watched, repeated; all by files and processes."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from sparks import registry
from sparks.errors import SparksError
from sparks.media.ffmpeg import check_video
from sparks.runs.folder import SOURCE
from sparks.runs.watch import history
from sparks.settings.layers import merge
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings, read_settings
from sparks.studio.edits import machine
from sparks.studio.edits.clips import Clips, bundled_tasks
from sparks.studio.edits.form import Wanted, expected_seconds, filled, read_form, unknown_words
from sparks.studio.edits.index import Index
from sparks.studio.edits.jobs import DONE, Job
from sparks.studio.edits.queue import Queue
from sparks.studio.edits.view import View, look

HIDDEN = ".studio"  # in the folder of all runs: queue, clips, index


@dataclass(frozen=True)
class Verdict:
    """What is known of an edit before it is begun.

    Attributes:
        errors: what must be mended first.
        unknown: words that the model does not know.
        fits: whether the model would run here, None while that is not known; `told` says it.
        seconds: what it will take, by earlier ones; None without any.
    """

    errors: list[str]
    unknown: list[str]
    fits: bool | None
    told: str
    seconds: float | None


class Studio:
    """A folder of runs and what may be done in it.

    Args:
        root: the folder; made if need be.
        devices: as of `Queue`.
        models: that may be chosen besides those that are on this machine.

    Raises:
        SparksError: it cannot be written, or another studio is at it.
    """

    def __init__(self, root: Path, devices: list[str], models: tuple[str, ...] = ()) -> None:
        self.root, self.own = root.absolute(), root.absolute() / HIDDEN
        try:
            self.own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SparksError(f"cannot write into {root}: {error.strerror}") from error
        self.clips = Clips(self.own / "clips")
        self.index = Index(self.root, self.own / "index.json")
        self.queue = Queue(self.own / "jobs", self.root, devices)
        self.doctor = machine.Doctor(models)

    def begin(self) -> None:
        """Start what waits, ask the doctor, see what there is."""
        self.queue.start()
        self.doctor.ask()

    def models(self) -> list[machine.Model]:
        """Those that may be chosen."""
        return [machine.model(name) for name in self.doctor.here()]

    def check(self, form: Mapping[str, str]) -> Verdict:
        """What is to be said of a form before it is sent."""
        try:
            wanted = read_form(form, self.doctor.here())
        except SparksError as error:
            return Verdict([str(error)], [], None, "", None)
        errors = [] if wanted.clip else ["choose a clip first"]
        settings, chosen = wanted.settings, machine.model(wanted.settings["model"])
        said = [settings.get("prompt"), settings.get("static_prompt")]
        unknown = unknown_words(said, chosen.words)
        fits, told = self._fits(chosen)
        solver = merge(chosen.settings, settings).get("solver", {}).get("name", "adam")
        seconds = expected_seconds(self.index.entries(), settings, solver, self._lengths())
        return Verdict(errors, unknown, fits, told, seconds)

    def add(self, form: Mapping[str, str]) -> Job:
        """Queue the edit of a form.

        Raises:
            SparksError: something about it is wrong.
        """
        wanted = read_form(form, self.doctor.here())
        chosen = machine.model(wanted.settings["model"])
        said = [wanted.settings.get("prompt"), wanted.settings.get("static_prompt")]
        if unknown := unknown_words(said, chosen.words):
            raise SparksError(
                f"{chosen.name} does not know {', '.join(unknown)}; use the words that it has"
            )
        return self._add(wanted)

    def go_on(self, path: str) -> Job:
        """Queue the rest of a run that was cut off."""
        run = self.run(path)
        arguments = ("solve", "--resume", str(run))
        return self.queue.add("resume", arguments, self._title(path), path)

    def render(self, path: str, evaluations: list[int]) -> Job:
        """Queue renders of evaluations, to look at them."""
        run, listed = self.run(path), ",".join(map(str, sorted(set(evaluations))))
        title = f"render {listed}: {self._title(path)}"
        return self.queue.add("render", ("pick", str(run), "--render", listed), title, path)

    def pick(self, path: str, evaluation: int) -> Job:
        """Queue an evaluation to become the edit."""
        run = self.run(path)
        title = f"pick {evaluation}: {self._title(path)}"
        return self.queue.add("pick", ("pick", str(run), str(int(evaluation))), title, path)

    def transfer(self, path: str, clip: str, prompt: str, static_prompt: str) -> Job:
        """Queue the controls of a run on another clip."""
        run, video = self.run(path), self.clips.get(clip).video
        controls = run / "picked.safetensors"
        source = controls if controls.is_file() else run
        prompt, static_prompt = (" ".join(text.split()) for text in (prompt, static_prompt))
        if not prompt:
            raise SparksError("the prompt is empty; say what the edit shall show")
        place = self._place(f"transfer {prompt}")
        said = [f"--prompt={prompt}"]  # in one word: whatever it begins with, it is no option
        said += [f"--static-prompt={static_prompt}"] if static_prompt else []
        arguments = ("transfer", str(source), "--video", str(video.absolute()), *said)
        return self.queue.add(
            "transfer", (*arguments, "--output", str(self.root / place)), prompt, place
        )

    def view(self, path: str) -> View:
        """What is to be seen of a run.

        Raises:
            SparksError: there is neither a run nor a job that will make it.
        """
        jobs = [job for job in self.queue.jobs() if job.run == path]
        if not jobs and self.index.entry(path) is None:
            raise SparksError(f"no run is called {path}")
        job = next((job for job in jobs if not job.over), None)
        latest = max(jobs, key=lambda job: job.created, default=None)
        return look(self.root, path, job or latest, self.queue.folder)

    def run(self, path: str) -> Path:
        """The folder of a run that is listed.

        Raises:
            SparksError: it is not.
        """
        if self.index.entry(path) is None:
            self.index.refresh(at_once=True)
        if self.index.entry(path) is None:
            raise SparksError(f"no run is called {path}")
        return self.root / path

    def count(self, path: str) -> int:
        """How many evaluations a run has."""
        return len(history(self.run(path)))

    def filled(self, path: str | None) -> dict[str, str]:
        """What the form of a new edit begins with: nothing, or what another was made with.

        Raises:
            SparksError: there is neither such a run nor such a job.
        """
        if path is None:
            return {}
        job = next((job for job in self.queue.jobs() if job.run == path), None)
        own = self.queue.folder / job.id / "settings.yaml" if job is not None else None
        if own is not None and own.is_file():
            settings, whole = read_settings(own), False
        else:
            settings, whole = read_settings(self.run(path) / "config.yaml"), True
        clip = self._clip_of(settings) or self._source_of(path)
        return {**filled(settings, whole=whole), "clip": clip or ""}

    def bundled(self, name: str) -> str:
        """The id of a clip of the bundled world, made now if need be.

        Raises:
            SparksError: there is none of this name.
        """
        tasks = bundled_tasks()
        if name not in tasks:
            raise SparksError("no bundled clip is called so; choose one of the list")
        return self.clips.bundled(tasks[name]).id

    def _lengths(self) -> dict[str, float]:
        """Seconds of edits that were made at one go."""
        return {
            job.run: job.ended - job.started
            for job in self.queue.jobs()
            if job.kind == "edit" and job.state == DONE and job.ended and job.started
        }

    def _add(self, wanted: Wanted) -> Job:
        video = self.clips.cut(self.clips.get(wanted.clip), wanted.start, wanted.end)
        check_video(video)
        settings: Settings = {**wanted.settings, "video": str(video.absolute())}
        Config.resolve(settings)
        place = self._place(str(settings["prompt"]))
        text = yaml.safe_dump(_plain(settings), sort_keys=False, allow_unicode=True)
        arguments = ("solve", "--output", str(self.root / place))
        return self.queue.add("edit", arguments, str(settings["prompt"]), place, text)

    def _place(self, name: str) -> str:
        """A folder for a run, which no other job has."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "edit"
        first = f"{datetime.now():%Y%m%d-%H%M%S}-{slug}"
        taken = {job.run for job in self.queue.jobs()}
        names = (first, *(f"{first}-{number}" for number in range(2, 1000)))
        return next(n for n in names if n not in taken and not (self.root / n).exists())

    def _title(self, path: str) -> str:
        entry = self.index.entry(path)
        return entry.title if entry is not None else path

    def _clip_of(self, settings: Settings) -> str | None:
        video = Path(str(settings.get("video") or ""))
        known = {clip.folder.absolute(): clip.id for clip in self.clips.all()}
        return known.get(video.parent)

    def _source_of(self, path: str) -> str | None:
        """The source that a run keeps, taken in as a clip."""
        source = self.root / path / SOURCE
        if not source.is_file():
            return None
        with tempfile.TemporaryDirectory(dir=self.clips.folder, prefix=".source-") as scratch:
            copy = Path(shutil.copy(source, scratch))
            digest = hashlib.sha256(copy.read_bytes()).hexdigest()
            return self.clips.add(copy, digest, f"{self._title(path)}.mp4").id

    def _fits(self, chosen: machine.Model) -> tuple[bool | None, str]:
        verdict = self.doctor.verdict(chosen.name)
        if chosen.folder is None:
            return False, f"{chosen.name} is not on this machine; it would be fetched first"
        if verdict is None:
            return None, "asking the doctor what fits this machine"
        memory = self.doctor.findings["memory"]
        free, needs = memory["free"] / 2**30, verdict["needs"] / 2**30
        words = "fits" if verdict["fits"] else "does not fit"
        device = self.doctor.findings["device"]
        return verdict["fits"], f"{words} {device}: needs {needs:.1f} of {free:.1f} GiB free"


def solvers() -> list[str]:
    """Those that are installed and need no code to be named."""
    return sorted(registry.solvers.names())


def _plain(value: Any) -> Any:
    """Without tuples and the like, which YAML of other programs has not."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
