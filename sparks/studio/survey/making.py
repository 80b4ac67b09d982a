"""A study out of a comparison: videos written anew, alike, under names that say nothing."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.evaluation.scenarios import Comparison, read_comparison
from sparks.evaluation.scenarios import Scenario as Compared
from sparks.media.clip import read_clip, write_clip
from sparks.runs.folder import new_folder
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.study import MOST, Scenario, Study, video_path


def make(
    comparison: Path,
    output: Path | None = None,
    *,
    methods: Sequence[str] = (),
    invitations: int = 0,
    limit: int = 0,
    per_participant: int | None = None,
    **texts: Any,
) -> Path:
    """Make a study of `comparison`, a folder of `sparks compare`; the folder of the study.

    Every video is decoded and written again, so that all play in a browser and nothing in a file
    tells which program made it. If one cannot be, nothing is left.

    Args:
        comparison: its scenarios with at least two candidates become those of the study.
        output: new or empty; by default one in `runs`.
        methods: those to ask about; all if empty.
        invitations: links for one participant each.
        limit: of participants by one link for all, if not 0.
        per_participant: scenarios; all by default.
        texts: further fields of `Study`.

    Raises:
        SparksError: no comparison, no scenario with two candidates, a method that is not there, a
            folder that holds something, or a video that cannot be read.
    """
    if output is not None and output.exists() and any(output.iterdir()):
        raise SparksError(f"output {output} is not empty; choose a new folder")
    if bool(invitations) == bool(limit):
        raise SparksError("give invitations, or a limit of an open study; one of them")
    given = read_comparison(comparison)
    chosen = _chosen(given, methods)
    if not chosen:
        raise SparksError(f"{comparison}: no scenario has two candidates; nothing can be compared")
    if (per_participant := per_participant or len(chosen)) > len(chosen):
        raise SparksError(f"{per_participant} scenarios for each; the comparison has {len(chosen)}")
    texts = {name: text for name, text in texts.items() if text is not None}
    texts = {"title": given.title, "per_participant": per_participant} | texts
    folder = output or new_folder(f"survey-{comparison.resolve().name}")
    try:
        _write(folder, chosen, texts)
        with Ballots(folder) as ballots:
            ballots.add_links(invitations, 1) if invitations else ballots.add_links(1, limit)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _write(folder: Path, chosen: Sequence[tuple[Compared, list[str]]], texts: Any) -> None:
    most = max(len(names) for _, names in chosen)
    texts["candidates"] = min(texts.get("candidates", MOST), most)
    scenarios = tuple(_scenario(each, names, folder) for each, names in chosen)
    Study(scenarios=scenarios, **texts).save(folder)


def read_consent(path: Path) -> str:
    """The text of a file.

    Raises:
        SparksError: there is none, or it is no text.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SparksError(f"consent {path} cannot be read as text: {error}") from error


def _chosen(given: Comparison, methods: Sequence[str]) -> list[tuple[Compared, list[str]]]:
    if unknown := set(methods) - given.roles.keys():
        raise SparksError(
            f"no method {min(unknown)!r} in the comparison; choose {', '.join(given.roles)}"
        )
    wanted = methods or list(given.roles)
    found = [(each, [m for m in wanted if m in each.edits]) for each in given.scenarios]
    return [(each, names) for each, names in found if len(names) >= 2]


def _scenario(given: Compared, methods: Sequence[str], folder: Path) -> Scenario:
    source, (height, width) = _bring(given.source, folder)
    return Scenario(
        name=given.name,
        prompt=given.prompt,
        source=source,
        edits={method: _bring(given.edits[method], folder)[0] for method in methods},
        width=width,
        height=height,
    )


def _bring(path: Path, folder: Path) -> tuple[str, tuple[int, int]]:
    """A video's new name, its height and its width."""
    clip, name = read_clip(path), secrets.token_hex(8)
    to = video_path(folder, name)
    to.parent.mkdir(parents=True, exist_ok=True)
    write_clip(to, clip)
    return name, (clip.frames.shape[-2], clip.frames.shape[-1])
