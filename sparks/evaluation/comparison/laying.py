"""Videos laid side by side: one size, rate and length for a scenario, and what was changed said.

videos/SCENARIO/source.mp4, videos/SCENARIO/METHOD.mp4    each with NAME.json beside it: where it
                                                          came from, and what was changed
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparks.evaluation.comparison.found import Found, scenarios_of, video_of
from sparks.evaluation.comparison.layout import Given, Layout, PictureArea
from sparks.evaluation.metrics.pairs import at_rate
from sparks.evaluation.scenarios import Comparison, Scenario
from sparks.files import replacing, write_text
from sparks.media.clip import Clip, fit_clip, read_clip, write_clip
from sparks.runs.watch import read_json

ASPECT = 0.02  # of width to height: a greater difference is cropped, and said


def lay(layout: Layout, folder: Path) -> Comparison:
    """Bring every video of a layout into `folder`; what is there already is not made again.

    The first method of role `ours` that has a video decides size, rate and length, else the source.

    Raises:
        SparksError: an experiment or a video that cannot be read.
    """
    roles = {method.name: method.role for method in layout.methods}
    laid = [_lay(layout, given, folder) for given in scenarios_of(layout)]
    return Comparison(layout.title, roles, laid, layout.model)


def _lay(layout: Layout, given: Given, folder: Path) -> Scenario:
    videos = {method.name: video_of(method, given) for method in layout.methods}
    there = {name: video for name, video in videos.items() if video is not None}
    ours = [there[m.name] for m in layout.methods if m.role == "ours" and m.name in there]
    like = ours[0] if ours else Found(given.source)
    home = folder / "videos" / slug(given.name)
    notes = [given.notes] if given.notes else []
    paths = {}
    for name, video in {"source": Found(given.source), **there}.items():
        path = home / f"{slug(name)}.mp4"
        notes += [f"{name}: {note}" for note in _bring(video, like, path)]
        paths[name] = path
    notes += [f"{name}: no video" for name, video in videos.items() if video is None]
    return Scenario(
        name=given.name,
        prompt=given.prompt,
        source=paths.pop("source"),
        edits=paths,
        static_prompt=given.static_prompt,
        kept=given.prefix_frames or 0,
        notes=tuple(notes),
        p_yes={name: v.p_yes for name, v in there.items() if v.p_yes is not None},
    )


def slug(name: str) -> str:
    """A name as a file's."""
    return re.sub(r"[^\w.@=-]+", "-", name).strip("-.") or "x"


def _bring(video: Found, like: Found, path: Path) -> list[str]:
    """Write `video` to `path` in the form of `like`; what was changed."""
    stamp = [video.part, _digest(video.path), like.part, _digest(like.path)]
    record = path.with_suffix(".json")
    before: dict[str, Any] = read_json(record)
    told = before.get("changed")
    if before.get("stamp") == stamp and path.is_file() and isinstance(told, list):
        return list(map(str, told))
    clip, changed = read_part(video)
    form, _ = read_part(like)
    clip, more = fitted(clip, form)
    changed += more
    path.parent.mkdir(parents=True, exist_ok=True)
    if changed or video.path.suffix != ".mp4":
        write_clip(path, clip)
    else:
        with replacing(path) as temporary:
            shutil.copyfile(video.path, temporary)
    write_text(record, json.dumps({"from": video.path.name, "stamp": stamp, "changed": changed}))
    return changed


def read_part(video: Found) -> tuple[Clip, list[str]]:
    """The clip, cut to the part that is the edit; what was changed."""
    clip = read_clip(video.path)
    if video.part == "whole":
        return clip, []
    return replace(clip, frames=_half(clip, video.part)), [f"{video.part} of the picture taken"]


def _half(clip: Clip, part: PictureArea) -> Any:
    width = clip.frames.shape[-1] // 2
    return clip.frames[..., :width] if part == "left half" else clip.frames[..., -width:]


def fitted(clip: Clip, like: Clip) -> tuple[Clip, list[str]]:
    """A clip in the size, rate and length of another; what was changed.

    Frames are taken nearest in time, sizes filled and centre-cropped. What is shorter is left so,
    and the others are cut to it where two are compared.
    """
    said = []
    if clip.fps != like.fps:
        said.append(f"{float(clip.fps):g} frames/s taken at {float(like.fps):g}")
        clip = at_rate(clip, like.fps)
    (h, w), (height, width) = clip.frames.shape[-2:], like.frames.shape[-2:]
    if (h, w) != (height, width):
        crop = ", cropped" if abs(w / h - width / height) > ASPECT else ""
        said.append(f"{w}x{h} brought to {width}x{height}{crop}")
        clip = fit_clip(clip, multiple=1, temporal=1, size=(height, width))
    if len(clip.frames) > len(like.frames):
        said.append(f"{len(clip.frames)} frames cut to {len(like.frames)}")
        clip = clip.cut(len(like.frames))
    elif len(clip.frames) < len(like.frames):
        said.append(f"has {len(clip.frames)} of {len(like.frames)} frames")
    return clip, said


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
