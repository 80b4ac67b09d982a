"""Is an edit worth its search? What `sparks screen` does, and `sparks solve --screen` before it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from sparks.errors import SparksError
from sparks.files import write_text
from sparks.models.weights import BUNDLED
from sparks.runs.cache import Cache
from sparks.runs.folder import Run
from sparks.runs.prepare import Prepared, prepare
from sparks.runs.progress import Silent
from sparks.runs.resolve import resolve
from sparks.runs.screening.picture import draw_looks
from sparks.runs.screening.predictor import load_predictor
from sparks.runs.screening.probe import probe
from sparks.runs.screening.verdict import Verdict, describe, headline, weigh
from sparks.settings.yaml import Settings


def screen(
    settings: Settings,
    output: Path | None = None,
    reporter: Silent | None = None,
    cache: Cache | None = None,
) -> Verdict:
    """Look at an edit, without searching it.

    Args:
        settings: of the edit, as of `sparks.edit`.
        output: where `screen.json` and `looks.png` are written; nothing is if None.
        reporter: where progress is shown.
        cache: what an earlier edit loaded.

    Raises:
        SparksError: something about the input is wrong, or `output` is not free.
    """
    reporter, resolved = reporter or Silent(), resolve(settings)
    place = None if output is None else Run(output)
    with reporter:
        prepared = prepare(resolved, reporter, cache)
        verdict, frames = look(prepared, reporter)
        if place is not None:
            _write(place.claim(), verdict, frames)
    return verdict


def look(prepared: Prepared, reporter: Silent) -> tuple[Verdict, list[Tensor]]:
    """The verdict on what has been prepared, and the frames of what was rendered for it."""
    predictor, config = load_predictor(), prepared.config
    reporter.stage("rendering a few candidates to see whether it is worth a search")
    seen, frames = probe(
        prepared.problem,
        prepared.solver,
        prepared.source.frames,
        static_prompt=config.static_prompt,
        effort=predictor.effort,
        seed=config.seed,
    )
    learnt_with = {
        "model": (config.model, BUNDLED),
        "critic": (config.critic.model or config.critic.name, "qwen"),
        "solver": (config.solver.name, "hybrid"),
        "budget": (config.budget, predictor.budget),
    }
    return weigh(predictor, seen, learnt_with), frames


def screened(prepared: Prepared, reporter: Silent) -> Prepared:
    """What has been prepared, with the verdict among its facts, if the settings ask for one.

    Raises:
        SparksError: the probability is below the setting `screen`.
    """
    least = prepared.config.screen
    if least is None:
        return prepared
    verdict, _ = look(prepared, reporter)
    if verdict.probability < least:
        raise SparksError(
            f"the chance that {verdict.probe.prompt!r} happens is {verdict.probability:.2f}, less "
            f"than screen={least:g}: nothing was searched; give a lower one, another prompt or seed"
        )
    reporter.stage(headline(verdict))
    return replace(prepared, facts=prepared.facts | {"screen": verdict.json()})


def _write(folder: Path, verdict: Verdict, frames: list[Tensor]) -> None:
    write_text(folder / "screen.json", json.dumps(verdict.json(), indent=1) + "\n")
    write_text(folder / "screen.txt", describe(verdict) + "\n")
    title = f"“{verdict.probe.prompt}”   {verdict.probability:.2f} that it happens"
    draw_looks(folder / "looks.png", verdict.probe.looks, frames, title)
