"""An edit and its source from files: two videos, or a run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.media.clip import Clip, fit_clip, read_clip
from sparks.models.weights import find
from sparks.runs.folder import is_run
from sparks.runs.watch import read_json
from sparks.search.metrics import Edited
from sparks.settings.schema import Config
from sparks.settings.yaml import read_settings


def read_pair(
    edit: Path,
    source: Path,
    *,
    prompt: str | None = None,
    static_prompt: str | None = None,
    kept: int = 0,
    model: str | None = None,
    using: Mapping[str, str] | None = None,
) -> tuple[Edited, list[str]]:
    """Two videos, the source brought to the size, rate and length of the edit; what was changed.

    Args:
        edit, source: video files.
        prompt, static_prompt, kept, using: of `Edited`.
        model: whose own weights metrics may use.

    Raises:
        SparksError: a file that is no video.
    """
    clips = match(read_clip(edit), source)
    folder = None if model is None else find(model)
    pair = Edited(
        clips[0], clips[1], prompt, static_prompt, kept, using=dict(using or {}), model=folder
    )
    return pair, clips[2]


def match(edit: Clip, source: Path | Clip) -> tuple[Clip, Clip, list[str]]:
    """Source and edit at the edit's size and rate and the shorter one's length; what was changed.

    The source is filled and centre-cropped, its nearest frames in time are taken, and what is
    longer is cut at the end.
    """
    size = edit.frames.shape[-2], edit.frames.shape[-1]
    own = read_clip(source) if isinstance(source, Path) else source
    said = []
    if (before := own.frames.shape[-2:]) != edit.frames.shape[-2:]:
        said.append(f"source of {before[1]}x{before[0]} brought to {size[1]}x{size[0]}")
    if own.fps != edit.fps:
        said.append(f"source of {_rate(own.fps)} frames/s taken at {_rate(edit.fps)}")
        own = at_rate(own, edit.fps)
    if before != edit.frames.shape[-2:]:
        own = fit_clip(own, multiple=1, temporal=1, size=size)
    count = min(len(own.frames), len(edit.frames))
    for name, clip in (("source", own), ("edit", edit)):
        if len(clip.frames) > count:
            said.append(f"{name} of {len(clip.frames)} frames cut to {count}")
    return own.cut(count), edit.cut(count), said


def at_rate(clip: Clip, fps: Fraction) -> Clip:
    """The nearest frames in time at another rate, for as long as the clip lasts."""
    count = max(1, int(len(clip.frames) / clip.fps * fps + Fraction(1, 2)))
    last = len(clip.frames) - 1
    chosen = [min(last, round(t / fps * clip.fps)) for t in range(count)]
    return Clip(clip.frames[chosen], fps, clip.waveform, clip.sample_rate)


def _rate(fps: Fraction) -> str:
    return f"{float(fps):g}"


def read_run(
    run: Path, source: Path | None = None, using: Mapping[str, str] | None = None
) -> dict[str, Edited]:
    """What there is of a run, `baseline` and `edited`, each beside the clip that was edited.

    Args:
        run: directory of a finished run.
        source: the video, if it is not any more where it was.
        using: of `Edited`.

    Raises:
        SparksError: there is no finished run, or its source is not to be found.
    """
    if not is_run(run) or not (run / "edited.mp4").is_file():
        raise SparksError(f"no finished run at {run}; name a run directory, or give --source VIDEO")
    config = Config.resolve(read_settings(run / "config.yaml"))
    facts = read_json(run / "run.json")
    clips = {name: read_clip(run / f"{name}.mp4") for name in ("baseline", "edited")}
    own = _source_of(run, config, facts, source)
    folder = find(config.model)
    kept = int(facts.get("kept", {}).get("frames") or 0)
    found = {}
    for name, clip in clips.items():
        first, second, _ = match(clip, _as_edited(own, config, clip))
        texts = (config.prompt or facts.get("prompt"), config.static_prompt)
        found[name] = Edited(first, second, *texts, kept, using=dict(using or {}), model=folder)
    return found


def _source_of(run: Path, config: Config, facts: Mapping[str, Any], given: Path | None) -> Clip:
    """The clip that was edited, as it was read."""
    shape = config.clip
    fps = None if shape.fps is None else Fraction(shape.fps).limit_denominator(1001)
    if given is None and config.video is None:
        from sparks.pocket.tasks import default_task

        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "source.mp4"
            default_task().source.write(path)
            return read_clip(path, fps=fps, size=shape.size, fit=shape.fit)
    home = Path(facts.get("cost", {}).get("folder", ""))
    places = [given] if given else [home / str(config.video), Path(str(config.video))]
    video = next((place for place in places if place.is_file()), None)
    if video is None:
        raise SparksError(f"{run} edits {config.video}, which is not there; say --source VIDEO")
    return read_clip(video, fps=fps, size=shape.size, fit=shape.fit)


def _as_edited(own: Clip, config: Config, edit: Clip) -> Clip:
    """Cropped, not scaled, where the model's grid was all that changed the size."""
    if config.clip.size is not None or config.clip.fit == "squash":
        return own
    height, width = edit.frames.shape[-2:]
    top, left = (own.frames.shape[-2] - height) // 2, (own.frames.shape[-1] - width) // 2
    if min(top, left) < 0:
        return own
    frames = own.frames[..., top : top + height, left : left + width]
    return Clip(frames, own.fps, own.waveform, own.sample_rate)
