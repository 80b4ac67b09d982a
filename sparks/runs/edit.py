"""One edit from settings to a run directory: what `sparks solve` does."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.garbage import no_collection
from sparks.media.clip import Clip, write_clip
from sparks.models.memory import enough_memory, peak_memory
from sparks.runs.cache import Cache
from sparks.runs.earlier import as_begun
from sparks.runs.folder import SOURCE, Run
from sparks.runs.keeping import Keeping, read_keep
from sparks.runs.prepare import Prepared, prepare
from sparks.runs.previews import Previews
from sparks.runs.progress import Silent
from sparks.runs.recipes import recipe
from sparks.runs.resolve import resolve
from sparks.runs.result import Result, number
from sparks.runs.screening.screen import screened
from sparks.runs.trackers import trackers
from sparks.search.driver import Listener, Outcome, solve
from sparks.settings.layers import merge, without_code
from sparks.settings.schema import Config
from sparks.settings.yaml import Settings, read_settings

log = logging.getLogger("sparks")


def edit(
    settings: Settings,
    output: Path | None = None,
    reporter: Silent | None = None,
    *,
    cache: Cache | None = None,
    pictures: bool = True,
) -> Result:
    """Edit a clip and write a run folder.

    Args:
        settings: the user's; see `sparks.settings.schema.Config`.
        output: the run folder; a new one under `runs` by default.
        reporter: where progress is shown.
        cache: what an earlier edit loaded, taken over where it is the same.
        pictures: also write `source.mp4`, `side_by_side.mp4`, `contact_sheet.png` and `curve.png`.

    Raises:
        SparksError: something about the input is wrong, and nothing has been written; or the final
            render holds no numbers, and everything has.

    Examples:
        >>> result = edit({"prompt": "a yellow ball grows", "budget": "qwen_calls=2"})
        >>> result.spent["qwen_calls"], result.stopped_by
        (2, 'qwen_calls')
        >>> (result.folder / "edited.mp4").exists()
        True
    """
    return perform(settings, output, reporter, cache=cache, pictures=pictures)[0]


def perform(
    settings: Settings,
    output: Path | None = None,
    reporter: Silent | None = None,
    *,
    cache: Cache | None = None,
    pictures: bool = True,
    begun: bool = False,
    by_hand: bool = True,
) -> tuple[Result, Prepared]:
    """`edit`, and what it was done with.

    Args:
        begun: `output` is a run of the same settings, to go on with.
        by_hand: if it breaks off, say how to go on.
    """
    reporter = reporter or Silent()
    resolved = resolve(settings)
    run = Run(output, settings.get("prompt") or "bundled task", begun=begun)
    with contextlib.closing(run), reporter:
        prepared = prepare(resolved, reporter, cache, begun=run.facts if begun else None)
        device = str(prepared.problem.device)
        if begun:
            run.check(prepared.facts, device)
        else:
            prepared = screened(prepared, reporter)
        with _open(run, by_hand):
            if not begun:
                run.begin(prepared.config.dump(), prepared.facts, device)
            return _search(run, prepared, reporter, pictures), prepared


def go_on(folder: Path, reporter: Silent | None = None, named: Settings | None = None) -> Result:
    """Go on with a run from its last evaluation; a finished one is left alone.

    Args:
        folder: of a run that `edit` began.
        reporter: where progress is shown.
        named: what the user has typed: nothing, or what the run was begun with. Code that the run
            needs must be named there, as anyone can write a folder.

    Raises:
        SparksError: there is no run, another process is at it, what it edits has changed, or it
            needs code, or other settings, than what is named.
    """
    reporter, named = reporter or Silent(), named or {}
    run = Run(folder.absolute(), begun=True)
    with contextlib.closing(run):
        if (result := run.result) is not None and result.finished:
            log.warning("run %s is finished; there is nothing left to do", folder)
            return result
        path = run.folder / "config.yaml"
        settings = without_code(read_settings(path), path, named)
        settings = as_begun(settings, run.facts, folder)
        if Config.resolve(settings) != Config.resolve(merge(settings, named)):
            raise SparksError(f"{folder} goes on with its own settings; give --resume alone")
        with contextlib.chdir(run.home), reporter:
            prepared = prepare(settings, reporter, begun=run.facts)
            run.check(prepared.facts, str(prepared.problem.device))
            with _open(run):
                return _search(run, prepared, reporter)


@contextlib.contextmanager
def _open(run: Run, by_hand: bool = True) -> Iterator[None]:
    """Close the run in the end, and say how to go on with it if that was not its own."""
    before = run.recorded
    try:
        with contextlib.closing(run):
            yield
    except BaseException as error:
        refused = isinstance(error, SparksError) and run.recorded == before
        if by_hand and run.recorded and not refused:  # what was refused at once would be so again
            log.warning(
                "%d evaluations are kept; go on with: sparks solve --resume %s%s",
                *(run.recorded, run.folder, run.code),
            )
        raise


def _search(run: Run, prepared: Prepared, reporter: Silent, pictures: bool = True) -> Result:
    problem = prepared.problem
    if problem.objective.needs_reference:
        reporter.stage("rendering the baseline")
        _ = problem.baseline
    if pictures and not (run.folder / SOURCE).exists():
        write_clip(run.folder / SOURCE, prepared.source)
    _keep(run, prepared, reporter)
    reporter.search(problem)
    with contextlib.ExitStack() as closing:
        outcome = solve(
            problem,
            prepared.solver,
            seed=prepared.config.seed,
            listeners=(reporter.evaluated, *_followers(run.folder, prepared, closing)),
            journal=run.journal,
        )
    return _conclude(run, prepared, outcome, reporter, pictures)


def _keep(run: Run, prepared: Prepared, reporter: Silent) -> None:
    """See that the candidates stay that the settings ask for, and say how much that is."""
    most = read_keep(str(prepared.config.keep))
    if most == 0:
        return
    keeping = Keeping(run.folder, most, prepared.problem)
    keeping.recall(run.journal.rows if run.journal else [])
    reporter.stage(keeping.plan)
    prepared.problem.observers.append(keeping)


def _followers(folder: Path, prepared: Prepared, closing: contextlib.ExitStack) -> list[Listener]:
    config = prepared.config
    followers: list[Listener] = []
    if config.preview_every is not None:
        followers.append(Previews(folder, config.preview_every, prepared.problem, prepared.source))
    for tracker in trackers(config.listeners, folder, config):
        closing.callback(tracker.close)
        followers.append(tracker)
    return followers


@no_collection()
def _conclude(
    run: Run, prepared: Prepared, outcome: Outcome, reporter: Silent, pictures: bool
) -> Result:
    """Render at full guidance, ask the critics once more, and write everything."""
    reporter.stage("rendering at full guidance")
    problem, config = prepared.problem, prepared.config
    best = problem.space.decode(outcome.best.z[None])
    noise = outcome.best.seed
    edited = problem.render(best, config.guidance.final, noise)
    baseline = prepared.baseline()
    result = _result(run.folder, prepared, outcome, baseline, edited)
    made = recipe(config, prepared.facts, result.scores, outcome.best.index, noise)
    reporter.stage("writing the videos")
    run.save_best(best, made)
    source = prepared.source if config.sound != "none" else replace(prepared.source, waveform=None)
    with enough_memory("writing the videos"):
        run.save_videos(
            source,
            replace(source, frames=baseline.nan_to_num().cpu()),
            with_sound(replace(source, frames=edited.nan_to_num().cpu()), prepared, best),
            json.dumps(made),
            pictures,
        )
    run.finish(result, pictures)
    if not edited.isfinite().all():
        raise SparksError(
            f"the final render in {run.folder} holds values that are no numbers; choose another "
            "guidance.final, or dtype=float32"
        )
    return result


def _result(
    folder: Path, prepared: Prepared, outcome: Outcome, baseline: Tensor, edited: Tensor
) -> Result:
    problem, config, judge = prepared.problem, prepared.config, prepared.judge
    planned = prepared.facts.get("memory")
    peak = peak_memory(problem.device)
    return Result(
        run_dir=str(folder),
        solver=config.solver.name,
        space=config.space.name,
        seed=config.seed,
        p_yes_baseline=number(outcome.start.p_yes),
        p_yes_best=number(outcome.best.p_yes),
        p_yes_edited=number(problem.ask(edited, outcome.best)),
        p_yes_judge_baseline=number(judge(baseline)) if judge else None,
        p_yes_judge_edited=number(judge(edited)) if judge else None,
        losses=dict(outcome.best.losses.terms),
        spent=problem.meter.spent(),
        skipped=outcome.skipped,
        stopped_by=outcome.stopped_by,
        solver_report=_plain(prepared.solver.report) or None,
        memory=planned and {**planned, "measured": peak},
    )


def _plain(remarks: Any) -> Any:
    """What a solver reports, as far as JSON can hold it; a search is not lost for its remarks."""
    try:
        return json.loads(json.dumps(remarks, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        log.warning("the solver's report is left out: %s", error)
        return None


def with_sound(clip: Clip, prepared: Prepared, controls: Controls) -> Clip:
    """The clip, with the tuned sound if the settings ask for it."""
    if prepared.config.sound != "tuned":
        return clip
    waveform, rate = prepared.problem.editor.decode_audio(controls.alpha)
    return replace(clip, waveform=waveform.clamp(-1, 1), sample_rate=rate).cut(len(clip.frames))
