"""Runs that release 0.1.0 began are gone on with, told of, reported and transferred.

`released` holds what it wrote, as far as that is text.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.editors.controls import Controls, save_controls
from sparks.errors import SparksError
from sparks.models.fingerprint import fingerprints
from sparks.runs.earlier import as_begun
from sparks.runs.folder import Run
from tests.workplace import CRITIC, Sparks

RELEASED = Path(__file__).with_name("released")
SHAPES = {"alpha": (1, 2, 34, 16), "delta_v": (1, 8, 24)}  # of its controls
Begun = Callable[[str], Path]


@pytest.fixture
def begun(workplace: Path, tmp_path: Path) -> Begun:
    """A copy of a run, of the clip and the weights that this machine makes of the same numbers."""

    def copy(name: str) -> Path:
        run = Path(shutil.copytree(RELEASED / name, tmp_path / name))
        facts = json.loads((run / "run.json").read_text())
        with (workplace / "own.mp4").open("rb") as file:
            facts["source"]["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        facts["fingerprint"] = fingerprints(workplace / "model")
        (run / "run.json").write_text(json.dumps(facts))
        return run

    return copy


def zs(run: Path) -> list[str]:
    rows = (run / "history.jsonl").read_text().splitlines()
    return [json.loads(row)["z_sha256"] for row in rows]


def test_a_killed_search_goes_on_with_the_defaults_of_then(
    sparks: Sparks, begun: Begun, tmp_path: Path
) -> None:
    run = begun("begun")
    before = (run / "history.jsonl").read_bytes()
    code, out, err = sparks("solve", "--resume", str(run), *CRITIC, "--json")
    assert code == 0, err
    assert "was begun by an earlier release" in err
    assert (run / "history.jsonl").read_bytes().startswith(before)
    assert json.loads(out)["spent"]["renders"] == 6
    then = ("--set", "space.name=full", "--set", "solver.sigma=1.5", "--set", "solver.batch=1")
    code, _, err = sparks(
        *("solve", "own.mp4", "--prompt", "a blue ball grows", "--config", "settings.yaml"),
        *(*CRITIC, "--solver", "random", "--budget", "renders=6", *then),
        *("--output", str(tmp_path / "whole")),
    )
    assert code == 0, err
    assert zs(run) == zs(tmp_path / "whole")


def test_a_finished_one_is_told_of_and_reported(sparks: Sparks, begun: Begun) -> None:
    run = begun("finished")
    code, out, err = sparks("solve", "--resume", str(run), "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((run / "result.json").read_text())
    assert sparks("report", str(run))[0] == 0
    assert "a blue ball grows" in (run / "index.html").read_text()
    code, out, _ = sparks("watch", str(run))
    assert (code, "4 evaluations" in out, "finished" in out) == (0, True, True)


def test_its_controls_go_to_another_clip(
    sparks: Sparks, begun: Begun, workplace: Path, tmp_path: Path
) -> None:
    run = begun("finished")
    made: dict[str, Any] = json.loads((run / "best.json").read_text())
    made["fingerprint"] = json.dumps(fingerprints(workplace / "model"))
    start = Controls(torch.zeros(SHAPES["alpha"]), torch.zeros(SHAPES["delta_v"]))
    save_controls(run / "best.safetensors", start, made)
    code, out, err = sparks(
        *("transfer", str(run), "--video", "own.mp4", "--prompt", "a red ball jumps", *CRITIC),
        *("--output", str(tmp_path / "transfer"), "--json"),
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["stretched"] == 1
    assert 0 < result["p_yes_transfer"] < 1


def test_a_loss_that_is_computed_otherwise_now_is_refused(begun: Begun) -> None:
    run = begun("begun")
    facts = Run(run, begun=True).facts
    settings = {"objective": {"latent_schedule": "cosine_increase"}, "solver": {"name": "adam"}}
    with pytest.raises(SparksError, match=r"ended at 5.9 times the weights, 3.0 now; start a new"):
        as_begun(settings, facts, run)
    assert as_begun(settings, {**facts, "settings": {}}, run) == settings


@pytest.mark.parametrize(
    ("name", "sigma"), [("random", 1.5), ("cma", 0.5), ("ppo", 0.5), ("nevergrad/DE", 0.5)]
)
def test_what_was_drawn_with_stays_unless_it_was_said(name: str, sigma: float) -> None:
    solver = {"name": name, "batch": 2}
    assert as_begun({"solver": solver}, {}, Path("run"))["solver"] == solver | {"sigma": sigma}
    said = {"solver": solver | {"sigma": 0.1}}
    assert as_begun(said, {}, Path("run")) == said
    assert as_begun({"solver": {"name": "adam"}}, {}, Path("run")) == {"solver": {"name": "adam"}}
