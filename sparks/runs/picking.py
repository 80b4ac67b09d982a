"""An edit picked by eye among the evaluations of its search: what `sparks pick` does.

picks/0012.mp4  picks/0012.safetensors  picks/0012.json    evaluation 12 at full guidance
picked.mp4  picked.safetensors  picked.json  picked_side_by_side.mp4    the one that was picked
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparks.editors.controls import save_controls
from sparks.errors import SparksError
from sparks.files import replacing, write_text
from sparks.locks import locked
from sparks.media.clip import Clip, read_clip, side_by_side, write_clip
from sparks.runs.edit import with_sound
from sparks.runs.folder import SOURCE, Run, as_texts, is_run
from sparks.runs.keeping import kept_path, load_kept
from sparks.runs.prepare import Prepared, prepare
from sparks.runs.progress import Silent
from sparks.runs.recipes import recipe
from sparks.runs.result import number
from sparks.runs.watch import history, read_json
from sparks.search.evaluation import Evaluation
from sparks.search.history import HistoryRow, batch_of, to_evaluation
from sparks.settings.layers import without_code
from sparks.settings.yaml import Settings, read_settings

FOLDER = "picks"


def candidates(run: Path) -> list[dict[str, Any]]:
    """Evaluations in their order, and which is the best, was kept, rendered, or picked.

    Raises:
        SparksError: there is no run.
    """
    rows, chosen = history(run), read_json(run / "picked.json").get("evaluation")
    best = max((row["index"] for row in rows if row["best"]), default=None)
    return [
        {
            "evaluation": row["index"] + 1,
            "p_yes": row["p_yes"],
            "total": row["total"],
            "best": row["index"] == best,
            "kept": kept_path(run, row["index"]).is_file(),
            "rendered": is_rendered(run, row["index"] + 1),
            "picked": row["index"] + 1 == chosen,
        }
        for row in rows
    ]


def is_rendered(run: Path, evaluation: int) -> bool:
    """Whether everything of an evaluation is there; its scores are written last."""
    return _path(run, evaluation, ".json").is_file()


def render(
    run: Path,
    evaluations: Sequence[int],
    reporter: Silent | None = None,
    named: Settings | None = None,
) -> list[dict[str, Any]]:
    """Render evaluations of a search at full guidance into `picks/`, those that are not there yet.

    Args:
        run: the run directory; its search may still be going on.
        evaluations: counted from one, as they are printed.
        reporter: where progress is shown.
        named: what the user has typed; code that the run needs must be named there.

    Returns:
        of each its number, and P(yes) of critic and judge.

    Raises:
        SparksError: there is no run, or it has not kept them; or another process renders there.
    """
    rows = _rows(run, evaluations)
    missing = [row for row in rows if not is_rendered(run, row["index"] + 1)]
    if missing:
        with _alone(run):
            _render(run, missing, reporter or Silent(), named or {})
    return [read_json(_path(run, evaluation, ".json")) for evaluation in evaluations]


def pick(
    run: Path,
    evaluation: int,
    reporter: Silent | None = None,
    named: Settings | None = None,
) -> dict[str, Any]:
    """Make an evaluation the edit: `picked.mp4` and its controls, beside what the search chose.

    What the search found stays as it is. Arguments, and what is raised, as of `render`.

    Returns:
        what `picked.json` holds: `evaluation`, its scores, and `run_dir`.
    """
    (scores,) = render(run, [evaluation], reporter, named)
    for suffix in (".mp4", ".safetensors"):
        with replacing(run / f"picked{suffix}") as temporary:
            shutil.copyfile(_path(run, evaluation, suffix), temporary)
    shown = [run / name for name in (SOURCE, "baseline.mp4") if (run / name).is_file()]
    clips = [read_clip(path) for path in (*shown, run / "picked.mp4")]
    write_clip(run / "picked_side_by_side.mp4", side_by_side(clips))
    _write_json(run / "picked.json", scores)
    return {"run_dir": str(run), **scores}


def _path(run: Path, evaluation: int, suffix: str) -> Path:
    return run / FOLDER / f"{evaluation:04}{suffix}"


def _rows(run: Path, evaluations: Sequence[int]) -> list[HistoryRow]:
    rows = history(run)
    for evaluation in evaluations:
        if not 1 <= evaluation <= len(rows):
            raise SparksError(f"run {run} has evaluations 1 to {len(rows)}, and no {evaluation}")
    return [rows[evaluation - 1] for evaluation in evaluations]


@contextlib.contextmanager
def _alone(run: Path) -> Iterator[None]:
    try:
        (run / FOLDER).mkdir(exist_ok=True)
        with locked(run / FOLDER) as free:
            if not free:
                raise SparksError(f"another process renders in {run / FOLDER}; wait for it")
            yield
    except OSError as error:
        raise SparksError(f"cannot write into {run / FOLDER}: {error.strerror}") from error


def _render(run: Path, rows: Sequence[HistoryRow], reporter: Silent, named: Settings) -> None:
    """Everything is loaded once for all of them."""
    if not is_run(run):
        raise SparksError(f"no run at {run}; name the folder of a run")
    found = {row["index"]: load_kept(run, row) for row in rows}
    opened, every = Run(run.absolute(), begun=True, reading=True), history(run)
    path = opened.folder / "config.yaml"
    settings = without_code(read_settings(path), path, named)
    with contextlib.chdir(opened.home), reporter:
        prepared = prepare(settings, reporter, begun=opened.facts)
        opened.check(prepared.facts, str(prepared.problem.device))
        for row in rows:
            reporter.stage(f"rendering evaluation {row['index'] + 1} at full guidance")
            z = found[row["index"]].to(prepared.problem.device)
            evaluation = replace(to_evaluation(row, z), batch=batch_of(every, row))
            _write(opened.folder, prepared, evaluation)


def _write(run: Path, prepared: Prepared, evaluation: Evaluation) -> None:
    problem, config = prepared.problem, prepared.config
    controls = problem.space.decode(evaluation.z[None])
    frames = problem.render(controls, config.guidance.final, evaluation.seed)
    scores = {
        "evaluation": evaluation.index + 1,
        "p_yes": number(problem.ask(frames, evaluation)),
        "p_yes_judge": number(prepared.judge(frames)) if prepared.judge else None,
        "p_yes_search": number(evaluation.p_yes),
        "total": number(evaluation.total),
    }
    made = _recipe(prepared, evaluation, scores)
    source: Clip = prepared.source
    if config.sound == "none":
        source = replace(source, waveform=None)
    clip = with_sound(replace(source, frames=frames.nan_to_num().cpu()), prepared, controls)
    path = run / FOLDER / f"{evaluation.index + 1:04}"
    write_clip(path.with_suffix(".mp4"), clip, comment=json.dumps(made))
    save_controls(path.with_suffix(".safetensors"), controls, as_texts(made))
    _write_json(path.with_suffix(".json"), scores)


def _recipe(prepared: Prepared, evaluation: Evaluation, scores: Settings) -> Settings:
    numbers = {name: value for name, value in scores.items() if name != "evaluation"}
    return recipe(prepared.config, prepared.facts, numbers, evaluation.index, evaluation.seed)


def _write_json(path: Path, content: Settings) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")
