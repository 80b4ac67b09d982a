"""A comparison of two scenarios, and the study made of it."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from sparks.evaluation.scenarios import Comparison, Scenario
from sparks.media.clip import Clip, write_clip
from sparks.studio.survey.making import make

METHODS = ("ours", "prompt only", "VACE (14B)", "LoRA-Edit")
PROMPTS = {"00-jump": "a red ball <b>jumps</b> & lands", "cat": "the cat opens its eyes"}


def write_comparison(folder: Path) -> Path:
    """`comparison.json` with small videos, each of one colour that says whose it is."""
    scenarios = []
    for name, prompt in PROMPTS.items():
        videos = {}
        for number, method in enumerate(("source", *METHODS)):
            path = folder / "videos" / name / f"{method}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            frames = torch.full((6, 3, 64, 96), 0.1)
            frames[:, :, :, : 16 * (number + 1)] = 0.9
            write_clip(path, Clip(frames, Fraction(12)), comment=f"made by {method}")
            videos[method] = path
        source = videos.pop("source")
        scenarios.append(Scenario(name, prompt, source, videos))
    roles = dict.fromkeys(METHODS, "other")
    Comparison("A test", roles, scenarios).save(folder)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("comparison"))


@pytest.fixture
def study(comparison: Path, tmp_path: Path) -> Path:
    """A study with three invitations."""
    make(comparison, tmp_path / "study", invitations=3)
    return tmp_path / "study"
