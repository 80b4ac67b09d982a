"""A comparison of two scenarios, and the study made of it."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def _made(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "study"
    make(comparison, folder, invitations=3)
    return folder


@pytest.fixture
def study(_made: Path, tmp_path: Path) -> Path:
    """A study with three invitations."""
    return Path(shutil.copytree(_made, tmp_path / "study"))


class Server:
    """`sparks survey serve` as a process of its own."""

    def __init__(self, folder: Path, links: int = 1) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = ["survey", "serve", str(folder), "--port", str(self.port)]
        code = "import sys; from sparks.cli import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.mine = self.process.stdout.readline().split()[-1]
        self.process.stdout.readline()
        self.links = [self.process.stdout.readline().strip() for _ in range(links)]

    def kill(self) -> None:
        """Without a warning."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def server(study: Path) -> Iterator[Server]:
    one = Server(study, 3)
    yield one
    one.kill()
