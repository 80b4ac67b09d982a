"""A finished run made ready to be rendered again."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from sparks.editors.controls import Controls, load_controls
from sparks.errors import SparksError
from sparks.runs.cache import Cache
from sparks.runs.folder import Run, is_run
from sparks.runs.prepare import Prepared, prepare
from sparks.runs.progress import Silent
from sparks.runs.recipes import read_recipe
from sparks.settings.layers import merge, without_code
from sparks.settings.yaml import Settings, read_settings

_UNSEARCHED: Settings = {"objective": {"weights": {"lpips": 0, "temporal": 0}}}


@dataclass(frozen=True)
class Candidate:
    """One way to condition a render.

    Attributes:
        controls: of batch 1.
        noise: seed of the noise it is rendered under.
    """

    controls: Controls
    noise: int


@dataclass(frozen=True)
class Finished:
    """What is needed to render the prompt-only and the tuned edit of a run once more."""

    prepared: Prepared
    baseline: Candidate
    edited: Candidate

    @property
    def candidates(self) -> dict[str, Candidate]:
        """Both, by the names that their videos have in the run."""
        return {"baseline": self.baseline, "edited": self.edited}


def reopen(
    folder: Path,
    named: Settings | None = None,
    reporter: Silent | None = None,
    cache: Cache | None = None,
) -> Finished:
    """Load what a run was made with; nothing is searched.

    Args:
        folder: of the run.
        named: what the user has typed; code that the run needs must be named there.
        reporter: where progress is shown.
        cache: what an earlier run has loaded.

    Raises:
        SparksError: there is no run, it has no tuned controls yet, or needs code.
    """
    folder = folder.absolute()
    if not is_run(folder) or not (folder / "best.safetensors").is_file():
        raise SparksError(f"{folder} holds no finished run; give the folder that solve has written")
    path, named = folder / "config.yaml", dict(named or {})
    if "video" in named:
        named["video"] = str(Path(named["video"]).absolute())
    settings = merge(without_code(read_settings(path), path, named), named, _UNSEARCHED)
    made = read_recipe(folder / "best.safetensors")
    controls = load_controls(folder / "best.safetensors")
    with contextlib.chdir(Run(folder, begun=True).home):
        prepared = prepare(settings, reporter, cache)
    problem, seeds = prepared.problem, made.get("seeds")
    start, seed = problem.editor.start(problem.conditioning), prepared.config.seed
    noise = seeds.get("noise", seed) if isinstance(seeds, dict) else seed
    return Finished(prepared, Candidate(start, seed), Candidate(controls.to(problem.device), noise))
