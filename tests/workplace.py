"""A folder with all that a small experiment needs, on a tiny model of the real classes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sparks.cli import main
from sparks.media.clip import write_clip
from tests.editors.conftest import make_clip, write_model

Sparks = Callable[..., tuple[int, str, str]]
CRITIC = ("--critic", "plugins.py:Redness")
COST = ("wall_clock", "elapsed", "device", "where")  # columns that no two runs have alike
REDNESS = '''
class Redness:
    """Says yes to red frames."""

    differentiable = True

    def __init__(self, sharpness: float = 40.0) -> None:
        self.sharpness = sharpness

    def log_odds(self, frames, prompt, indices=None):
        red = frames[:, :, 0].mean((1, 2, 3)) - frames[:, :, 2].mean((1, 2, 3))
        return self.sharpness * red
'''
PLUGINS = '''
import os
import signal
from pathlib import Path

import torch

from sparks.errors import SparksError
from sparks.search.protocols import AskTell


class Wander(AskTell):
    """Tries whatever comes."""

    def setup(self, problem, rng):
        self.rng, self.dim = rng, problem.dim

    def ask(self):
        return torch.as_tensor(self.rng.standard_normal((1, self.dim)) / 3)

    def tell(self, evaluations, progress):
        pass


class Fails(Wander):
    """Until there is a file called `mended`."""

    def setup(self, problem, rng):
        super().setup(problem, rng)
        if problem.prompt == "a blue ball grows" and not Path("mended").exists():
            raise ValueError("out of luck")


class Dies(Wander):
    """The first time that it is asked to turn a ball blue, with the whole process."""

    def tell(self, evaluations, progress):
        if evaluations[0].index == 1 and Path("mortal").exists():
            Path("mortal").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
'''
TASKS = """
tasks:
  - name: 00-jump
    source: {seed: 20270309, count: 25, index: 24, action: stay}
    prompt: a red ball jumps
    prefix_frames: 5
  - {name: own, source: own.mp4, prompt: a blue ball grows}
"""
SETTINGS = """
model: model
sampling: {num_inference_steps: 2, grad_steps: 1}
guidance: {final: {video: {guidance_scale: 2.0}, stg_blocks: []}}
objective: {weights: {lpips: 0, temporal: 0}}
critic: {name: "plugins.py:Redness"}
solver: {name: adam, lr: 0.2}
budget: qwen_calls=2
"""


def make_workplace(folder: Path) -> Path:
    """Model, plugins, `settings.yaml`; `tasks.yaml`: a clip of the world, a video of one's own."""
    write_model(folder / "model")
    (folder / "settings.yaml").write_text(SETTINGS)
    (folder / "plugins.py").write_text(PLUGINS + REDNESS)
    (folder / "tasks.yaml").write_text(TASKS)
    (folder / "one.yaml").write_text("tasks:" + TASKS[TASKS.index("  - {name: own") - 1 :])
    write_clip(folder / "own.mp4", make_clip(17))
    return folder


def run_sparks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    monkeypatch.setattr("sys.argv", ["sparks", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err
