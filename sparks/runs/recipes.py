"""How an edit was made, carried by what it made: a video's comment, and beside saved controls."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from sparks.editors.controls import controls_metadata
from sparks.errors import SparksError, shorten
from sparks.media.ffmpeg import check_video, opened
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings

log = logging.getLogger("sparks")

_SECTIONS = ("source", "clip", "kept", "seeds", "fingerprint")  # of facts, each with names inside


def recipe(config: Config, facts: Settings, scores: Settings, index: int, noise: int) -> Settings:
    """Everything that an edit is repeated from, and what it reached.

    Args:
        config: resolved.
        facts: source, clip, kept frames, seeds and fingerprints, as in `run.json`.
        scores: what it reached.
        index: of the evaluation that was rendered.
        noise: seed of its noise.
    """
    return {
        **facts,
        "seeds": facts["seeds"] | {"noise": noise},
        "model": config.model,
        "solver": config.solver.name,
        "space": config.space.name,
        "index": index,
        "scores": scores,
        "config": json.loads(config.model_dump_json()),  # null for what is no number
    }


def read_recipe(path: Path | str) -> Settings:
    """The recipe of a video (mp4), or of saved controls (safetensors).

    Raises:
        SparksError: no such file, or it carries none, or one that no run wrote.
    """
    if Path(path).suffix == ".safetensors":
        texts = controls_metadata(path)
        content = {name: _parsed(text) for name, text in texts.items()}
    else:
        with opened(path) as container:
            tags = {name.lower(): text for name, text in container.metadata.items()}
        content = _parsed(tags.get("comment", ""))
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise SparksError(f"{path} carries no recipe; give an mp4 or safetensors of a run")
    for name in _SECTIONS:
        if not isinstance(content.get(name), dict | None):
            raise SparksError(
                f"{name} in the recipe of {path} is {shorten(repr(content[name]))}, which no run "
                "wrote; give a file that is as it was written"
            )
    return content


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def repeat(path: Path | str, video: str | None) -> Settings:
    """Settings that repeat the edit of a file's recipe.

    Args:
        path: of the file that carries it.
        video: the source, where the user names one; else it must be where it was.

    Raises:
        SparksError: there is no recipe, or the source is gone or another.
    """
    made = read_recipe(path)
    settings: Settings = made["config"]
    source = video or settings.get("video")
    if source is None:  # the bundled task
        return settings
    if not isinstance(source, str):
        raise SparksError(f"the recipe of {path} names {source!r} as its video; name the source")
    try:
        check_video(source)
        with open(source, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (SparksError, OSError, TypeError) as error:
        raise SparksError(f"{path} was made from {source}, which is not there; name it") from error
    if (made.get("source") or {}).get("sha256") != digest:
        if video is None:
            raise SparksError(f"{source} is not what {path} was made from; name the source")
        log.warning("%s is not what %s was made from; the edit will differ", source, path)
    return settings
