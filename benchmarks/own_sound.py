"""How often a prompt of the pocket happens, untuned, with the source's sound and with its own.

    python benchmarks/own_sound.py [--tasks test40] [--seeds 4]

The same sources, prompts and noise as of `sparks bench`, rendered once with the sound of the source
and once with the sound that the world gives the action asked for: what the model can do when both
conditions say the same. Measured on the decoded videos.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from sparks.editors.base import Editor
from sparks.editors.controls import Controls
from sparks.evaluation.statistics.tables import difference, estimate, markdown
from sparks.experiments.tasks import first_seed, task_list
from sparks.media.clip import Clip, read_clip, write_clip
from sparks.models.quiet import quiet_libraries
from sparks.pocket import measure, world
from sparks.pocket.tasks import Source
from sparks.runs.prepare import prepare

SOUNDS = {"source": "the source's", "own": "the action's own"}


def alpha_of_action(editor: Editor, clip: Clip, source: Source, action: str, prompt: str) -> Tensor:
    """The audio latent `[1, Ca, L, M]` of the source's object doing what is asked for."""
    doing = replace(source, action=action, silent=False).scene()
    sound = world.sound(doing, seed=source.seed + source.index)[0]
    heard = replace(clip, waveform=sound, sample_rate=world.SAMPLE_RATE)
    return editor.start(editor.prepare(heard, prompt, prefix_frames=5)).alpha


def moved(frames: Tensor, clip: Clip, prompt: str) -> bool:
    """Whether the action happens in frames `[1, T, 3, H, W]`, after a video file."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "video.mp4"
        write_clip(path, replace(clip, frames=frames[0].cpu(), waveform=None))
        return bool(measure.judge(read_clip(path).frames[None], [prompt]).happened)


def renders(tasks: str, seeds: int) -> Iterator[dict[str, object]]:
    """One row a task and noise seed: whether it happened, with either sound."""
    first = first_seed(tasks)
    for task in task_list(tasks):
        assert isinstance(task.source, Source)
        action = str(task.action)
        with tempfile.TemporaryDirectory() as scratch:
            video = Path(scratch) / "source.mp4"
            task.source.write(video)
            prepared = prepare(task.settings(video))
        editor, problem = prepared.problem.editor, prepared.problem
        own = alpha_of_action(editor, prepared.source, task.source, action, task.prompt)
        for seed in range(first or 0, (first or 0) + seeds):
            conditioning = problem.conditioning.with_noise(seed)
            start = editor.start(conditioning)
            row: dict[str, object] = {"task": task.name, "seed": seed}
            for name, alpha in (("source", start.alpha), ("own", own)):
                controls = Controls(alpha, start.delta_v)
                with torch.no_grad():
                    frames = editor.render(conditioning, controls, sampling=problem.sampling)
                row[name] = moved(frames, prepared.source, task.prompt)
            yield row


def main(arguments: Sequence[str] | None = None) -> None:
    """Render, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", default="test40")
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args(arguments)
    with quiet_libraries():
        rows = list(renders(options.tasks, options.seeds))
    lines = []
    for name, called in SOUNDS.items():
        mean = estimate(rows, name)
        assert mean is not None
        lines.append([called, f"{mean.mean:.2f} [{mean.low:.2f}, {mean.high:.2f}]"])
    more = difference(
        [r | {"v": r["own"]} for r in rows], [r | {"v": r["source"]} for r in rows], "v"
    )
    assert more is not None
    lines.append(["paired difference", f"{more.mean:+.2f} [{more.low:+.2f}, {more.high:+.2f}]"])
    print(markdown(["sound", f"happened, of {len(rows)}, untuned"], lines))


if __name__ == "__main__":
    main()
