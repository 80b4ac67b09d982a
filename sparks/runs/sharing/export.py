"""Tuned controls for others: what `sparks export` does."""

from __future__ import annotations

import json
from pathlib import Path

from sparks.editors.controls import Controls, load_controls, save_controls
from sparks.errors import SparksError
from sparks.models.fingerprint import fingerprints
from sparks.runs.folder import Run
from sparks.runs.prepare import open_editor
from sparks.runs.progress import Silent
from sparks.runs.recipes import read_recipe
from sparks.runs.sharing.card import write_card
from sparks.runs.sharing.comfy import write_comfy
from sparks.runs.sharing.hub import CONTROLS, controls_file
from sparks.runs.sharing.public import public
from sparks.runs.transfer import check_same
from sparks.settings.layers import merge, without_code
from sparks.settings.yaml import Settings

FORMATS = ("comfy", "safetensors", "card")
# What loads the same model, with prompts of its own; settings of another would not suit it.
_ENCODED_WITH = (
    *("model", "editor", "dtype", "prompt", "negative_prompt", "clip", "sampling", "guidance"),
)


def export(
    run: Path,
    form: str,
    output: Path | None = None,
    settings: Settings | None = None,
    reporter: Silent | None = None,
) -> Settings:
    """Write the controls of a run for others.

    Args:
        run: a run directory, or its `best.safetensors`.
        form: one of FORMATS: files for ComfyUI, the controls alone, or a folder for the hub.
        output: the folder, new or empty; a new one under `runs` by default.
        settings: the user's, of the model, where it is not found as the run names it.
        reporter: where progress is shown.

    Returns:
        `folder` and the names of its `files`.

    Raises:
        SparksError: no such format, no controls, another model, or a folder that is not free.
    """
    if form not in FORMATS:
        raise SparksError(f"--format is {form!r}; choose {', '.join(FORMATS)}")
    path, reporter = controls_file(run)[0], reporter or Silent()
    made, controls = read_recipe(path), load_controls(path)
    place = Run(output, f"{form} {made.get('prompt') or ''}")
    with reporter:
        if form == "comfy":
            files = _comfy(place, path, made, controls, settings or {}, reporter)
        else:
            recipe, folder = public(made), place.claim()
            texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in recipe.items()}
            save_controls(folder / CONTROLS, controls, texts)
            files = [CONTROLS]
            files += write_card(folder, run, recipe, controls) if form == "card" else []
    return {"folder": str(place.folder), "files": files}


def _comfy(
    place: Run,
    path: Path,
    made: Settings,
    controls: Controls,
    settings: Settings,
    reporter: Silent,
) -> list[str]:
    theirs = {k: v for k in _ENCODED_WITH if (v := made["config"].get(k)) is not None}
    wanted = merge(without_code(theirs, path, settings), settings)
    editor, config = open_editor(wanted, reporter)
    now = None if editor.folder is None else fingerprints(editor.folder)
    check_same(made, now, config.model, path)
    reporter.stage("encoding the prompts")
    prompts = (config.prompt or "", config.negative_prompt)
    return write_comfy(place.claim(), editor, controls, *prompts)
