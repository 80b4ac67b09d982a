"""What a finished run reached, by the critics and by ground truth, and what it cost."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks.experiments.tasks import Task
from sparks.files import read_json
from sparks.media.clip import read_clip, write_clip
from sparks.pocket import measure
from sparks.pocket.likeness import likeness
from sparks.pocket.tasks import Source
from sparks.pocket.words import COLOURS, understand
from sparks.runs.prepare import Prepared
from sparks.runs.result import number

_ANSWERS = (
    *("solver", "space", "p_yes_baseline", "p_yes_best", "p_yes_edited"),
    *("p_yes_judge_baseline", "p_yes_judge_edited", "stopped_by"),
)
#: Column -> what it is called in tables, and how a value is written.
METRICS = {
    "p_yes_baseline": ("P(yes), start", ".3f"),
    "p_yes_best": ("P(yes), best", ".3f"),
    "p_yes_edited": ("P(yes), final", ".3f"),
    "p_yes_judge_baseline": ("judge's P(yes), prompt only", ".3f"),
    "p_yes_judge_edited": ("judge's P(yes), final", ".3f"),
    "accepted": ("guide accepts, final", ".2f"),
    "accepted_happened": ("of those it accepts, happened", ".2f"),
    "accepted_true": ("of those, happened and shape kept", ".2f"),
    "judge_agrees": ("judge says yes", ".2f"),
    "judge_right": ("judge is right", ".2f"),
    "happened_baseline": ("happened, prompt only", ".2f"),
    "happened_edited": ("happened, final", ".2f"),
    "kept_edited": ("object keeps its shape, final", ".2f"),
    "true_baseline": ("happened and shape kept, prompt only", ".2f"),
    "true_edited": ("happened and shape kept, final", ".2f"),
    "judge_right_true": ("judge is right, shape counted", ".2f"),
    "sharpness_edited": ("sharpness in motion (1 = the world's)", ".2f"),
    "strength_edited": ("strength (1 = just counts)", ".2f"),
    "continuous_baseline": ("continuous, prompt only", ".2f"),
    "continuous_edited": ("continuous, final", ".2f"),
    "outside_baseline": ("change outside, prompt only (1 = codec)", ".2f"),
    "outside_edited": ("change outside, final (1 = codec)", ".2f"),
    "total": ("total loss", ".3f"),
    "qwen_calls": ("critic calls", ".1f"),
    "renders": ("renders", ".1f"),
    "denoiser_forwards": ("denoiser forwards", ".0f"),
    "denoiser_backwards": ("denoiser backwards", ".0f"),
    "wall_clock": ("seconds", ".1f"),
}


def score(run: Path, task: Task, prepared: Prepared) -> dict[str, Any]:
    """The columns of METRICS, and what was run; None where a column has no meaning.

    Args:
        run: the directory of a finished run of `task`.
        task: what was asked; a ground truth is known for clips of the pocket world only.
        prepared: of the run's settings.
    """
    result = read_json(run / "result.json")
    judged = result["p_yes_judge_edited"]
    agrees = None if judged is None else judged > 0.5
    truth = _truth(run, task, prepared) if _has_truth(task) else {}
    accepted = result["p_yes_edited"] > 0.5
    judgeable = agrees is not None and bool(truth)
    row = {
        **{name: result[name] for name in _ANSWERS},
        "dim": prepared.problem.dim,
        "accepted": accepted,
        "accepted_happened": truth.get("happened_edited") if accepted else None,
        "accepted_true": truth.get("true_edited") if accepted else None,
        "judge_agrees": agrees,
        "judge_right": agrees == truth["happened_edited"] if judgeable else None,
        "judge_right_true": agrees == truth["true_edited"] if judgeable else None,
        "total": sum(result["losses"].values()),
        **result["spent"],
        **truth,
    }
    return {name: number(value) if type(value) is float else value for name, value in row.items()}


def _has_truth(task: Task) -> bool:
    sentence = understand(task.prompt)
    return isinstance(task.source, Source) and None not in (sentence.colour, sentence.action)


def _truth(run: Path, task: Task, prepared: Prepared) -> dict[str, Any]:
    """The measurement of the decoded videos; changes outside the object in units of the codec's.

    `happened` is the measurement that knows no shapes; `true` is that and `kept`.
    """
    colour = torch.tensor([COLOURS.index(str(understand(task.prompt).colour))])
    source = prepared.source.frames[None]
    unit = float(measure.outside_error(_reconstruction(prepared)[None], source, colour))
    scene = task.source.scene() if isinstance(task.source, Source) else None
    row: dict[str, Any] = {"outside_codec": unit}
    for name in ("baseline", "edited"):
        frames = read_clip(run / f"{name}.mp4").frames[None]
        seen = measure.judge(frames, [task.prompt])
        row |= {
            f"happened_{name}": bool(seen.happened),
            f"strength_{name}": float(seen.strength),
            f"continuous_{name}": bool(seen.continuous),
            f"outside_{name}": float(measure.outside_error(frames, source, colour)) / unit,
        }
        if scene is not None:
            like = likeness(frames, scene, measure.track(frames, scene.colour))
            row |= {
                f"kept_{name}": bool(like.kept),
                f"true_{name}": bool(seen.happened & like.kept),
                f"sharpness_{name}": float(like.sharpness),
            }
    return row


def _reconstruction(prepared: Prepared) -> Tensor:
    """The source after the editor's codec and a video file: all that an edit goes through."""
    problem = prepared.problem
    all_kept = problem.conditioning.with_all_kept()
    sampling = replace(problem.sampling, num_inference_steps=1)
    with torch.no_grad():
        frames = problem.editor.render(all_kept, problem.editor.start(all_kept), sampling=sampling)[
            0
        ]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "codec.mp4"
        write_clip(path, replace(prepared.source, frames=frames.cpu(), waveform=None))
        return read_clip(path).frames
