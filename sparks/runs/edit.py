"""One edit from settings to a run directory: what `sparks solve` does."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.media.clip import Clip
from sparks.runs.cache import Kept
from sparks.runs.folder import Run
from sparks.runs.prepare import Prepared, check_settings, prepare
from sparks.runs.previews import Previews
from sparks.runs.progress import Silent
from sparks.runs.recipes import recipe
from sparks.runs.trackers import trackers
from sparks.search.driver import Listener, Outcome, solve
from sparks.search.problem import peak_memory
from sparks.settings.layers import merge, without_code
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings, read_settings

log = logging.getLogger("sparks")


def edit(
    settings: Settings,
    output: Path | None = None,
    report: Silent | None = None,
    *,
    kept: Kept | None = None,
    pictures: bool = True,
) -> Settings:
    """Edit a clip and write a run directory.

    Args:
        settings: the user's; see `sparks.settings.schema.Config`.
        output: the run directory; a new one under `runs` by default.
        report: where progress is shown.
        kept: what an earlier edit loaded, taken over where it is the same.
        pictures: also write `side_by_side.mp4`, `contact_sheet.png` and `curve.png`.

    Returns:
        `run_dir`, `solver`, `space`, `seed`, `p_yes_baseline`, `p_yes_best`, `p_yes_edited`,
        `p_yes_judge_baseline` and `p_yes_judge_edited` (None without a judge), `losses` of the
        best by term, `spent`, `skipped` (evaluations that were no number), `stopped_by`, and
        `solver_report` where the solver has something to say of its own.

    Raises:
        SparksError: something about the input is wrong; nothing has been written.
    """
    report = report or Silent()
    asked = check_settings(settings)
    run = Run(output, asked.prompt or "bundled task")
    with report:
        prepared = prepare(settings, report, kept)
        with _open(run):
            run.begin(prepared.config.dump(), prepared.facts, str(prepared.problem.device))
            return _search(run, prepared, report, pictures)


def go_on(folder: Path, report: Silent | None = None, named: Settings | None = None) -> Settings:
    """Go on with a run from its last evaluation; a finished one is left alone.

    Args:
        folder: of a run that `edit` began.
        report: where progress is shown.
        named: what the user has typed: nothing, or what the run was begun with. Code that the run
            needs must be named there, as anyone can write a folder.

    Returns:
        The result, as of `edit`.

    Raises:
        SparksError: there is no run, another process is at it, what it edits has changed, or it
            needs code, or other settings, than what is named.
    """
    report, named = report or Silent(), named or {}
    run = Run(folder.absolute(), begun=True)
    with contextlib.closing(run):
        if run.result is not None:
            log.warning("run %s is finished; there is nothing left to do", folder)
            return run.result
        path = run.folder / "config.yaml"
        settings = without_code(read_settings(path), path, named)
        if Config.resolve(settings) != Config.resolve(merge(settings, named)):
            raise SparksError(f"{folder} goes on with its own settings; give --resume alone")
        with contextlib.chdir(run.home), report:
            prepared = prepare(settings, report)
            run.check(prepared.facts, str(prepared.problem.device))
            with _open(run):
                return _search(run, prepared, report)


@contextlib.contextmanager
def _open(run: Run) -> Iterator[None]:
    """Close the run in the end, and say how to go on with it if that was not its own."""
    before = run.recorded
    try:
        with contextlib.closing(run):
            yield
    except BaseException as error:
        refused = isinstance(error, SparksError) and run.recorded == before
        if run.recorded and not refused:  # what was refused at once would be so again
            log.warning(
                "%d evaluations are kept; go on with: sparks solve --resume %s%s",
                *(run.recorded, run.folder, run.code),
            )
        raise


def _search(run: Run, prepared: Prepared, report: Silent, pictures: bool = True) -> Settings:
    problem = prepared.problem
    if problem.objective.needs_reference:
        report.stage("rendering the baseline")
        _ = problem.baseline
    report.search(problem)
    with contextlib.ExitStack() as closing:
        outcome = solve(
            problem,
            prepared.solver,
            seed=prepared.config.seed,
            listeners=(report.evaluated, *_followers(run.folder, prepared, closing)),
            journal=run.journal,
        )
    return _conclude(run, prepared, outcome, report, pictures)


def _followers(folder: Path, prepared: Prepared, closing: contextlib.ExitStack) -> list[Listener]:
    config = prepared.config
    found: list[Listener] = []
    if config.preview_every is not None:
        found.append(Previews(folder, config.preview_every, prepared.problem, prepared.source))
    for tracker in trackers(config.listeners, folder, config):
        closing.callback(tracker.close)
        found.append(tracker)
    return found


def _conclude(
    run: Run, prepared: Prepared, outcome: Outcome, report: Silent, pictures: bool
) -> Settings:
    """Render at full guidance, ask the critic once more, and write everything."""
    report.stage("rendering at full guidance")
    problem, config = prepared.problem, prepared.config
    best = problem.space.decode(outcome.best.z[None])
    noise = outcome.best.seed
    edited = problem.render(best, config.guidance.final, noise)
    baseline = prepared.baseline()
    result = {
        "run_dir": str(run.folder),
        "solver": config.solver.name,
        "space": config.space.name,
        "seed": config.seed,
        "p_yes_baseline": outcome.start.p_yes,
        "p_yes_best": outcome.best.p_yes,
        "p_yes_edited": problem.ask(edited),
        "p_yes_judge_baseline": judged(prepared, baseline),
        "p_yes_judge_edited": judged(prepared, edited),
        "losses": dict(outcome.best.losses.terms),
        "spent": problem.meter.spent(),
        "skipped": outcome.skipped,
        "stopped_by": outcome.stopped_by,
    }
    if planned := prepared.facts.get("memory"):
        log.info("peak memory: %.1f GiB", peak_memory(problem.device) / 2**30)
        result["memory"] = {**planned, "measured": peak_memory(problem.device)}
    if remarks := getattr(prepared.solver, "report", None):
        result["solver_report"] = remarks
    made = recipe(config, prepared.facts, result, outcome.best.index, noise)
    report.stage("writing the videos")
    run.save_best(best, made)
    source = prepared.source if config.sound != "none" else replace(prepared.source, waveform=None)
    run.save_videos(
        source,
        replace(source, frames=baseline.cpu()),
        with_sound(replace(source, frames=edited.cpu()), prepared, best),
        json.dumps(made),
        pictures,
    )
    run.finish(result, pictures)
    return result


def judged(prepared: Prepared, frames: Tensor) -> float | None:
    """The held-out critic's P(yes) of `frames [T, 3, H, W]`."""
    if prepared.judge is None:
        return None
    with torch.no_grad():
        return float(prepared.judge.log_odds(frames[None], prepared.problem.prompt).sigmoid())


def with_sound(clip: Clip, prepared: Prepared, controls: Controls) -> Clip:
    """The clip, with the tuned sound if the settings ask for it."""
    if prepared.config.sound != "tuned":
        return clip
    waveform, rate = prepared.problem.editor.decode_audio(controls.alpha)
    return replace(clip, waveform=waveform.clamp(-1, 1), sample_rate=rate).cut(len(clip.frames))
