"""`sparks screen`, and `sparks solve --screen` before a search."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workplace import CRITIC, Sparks

CLIP = ("own.mp4", "--prompt", "a red ball jumps", "--config", "settings.yaml", *CRITIC)


def test_it_says_what_it_saw_and_tunes_nothing(sparks: Sparks, tmp_path: Path) -> None:
    code, out, err = sparks("screen", *CLIP, "--output", str(tmp_path / "look"))
    assert code == 0, err
    assert "prompt alone  P(yes)" in out
    assert "a guess only  learnt on others" in out
    assert {path.name for path in (tmp_path / "look").iterdir()} == {
        *("screen.json", "screen.txt", "looks.png")
    }
    assert np.asarray(Image.open(tmp_path / "look" / "looks.png")).std() > 5
    seen = json.loads((tmp_path / "look" / "screen.json").read_text())
    assert len(seen["probe"]["looks"]) == seen["probe"]["spent"]["renders"]
    code, _, err = sparks("screen", *CLIP, "--output", str(tmp_path / "look"))
    assert (code, "is not empty" in err) == (2, True)


def test_without_a_folder_nothing_is_written(sparks: Sparks, workplace: Path) -> None:
    before = set(workplace.rglob("*"))
    code, out, err = sparks("screen", *CLIP, "--json")
    assert code == 0, err
    assert 0 < json.loads(out)["probability"] < 1
    assert set(workplace.rglob("*")) - before <= {workplace / "__pycache__"}


def test_a_screened_search_is_the_search(sparks: Sparks, tmp_path: Path) -> None:
    runs = {"plain": (), "screened": ("--screen", "0")}
    for name, more in runs.items():
        code, _, err = sparks("solve", *CLIP, *more, "--output", str(tmp_path / name))
        assert code == 0, err
    plain, screened = (
        [json.loads(line) for line in (tmp_path / name / "history.jsonl").open()] for name in runs
    )
    assert len(plain) == len(screened) == 2
    for one, other in zip(plain, screened, strict=True):
        assert one["losses"] == other["losses"]
        assert one["z_sha256"] == other["z_sha256"]
    facts = json.loads((tmp_path / "screened" / "run.json").read_text())
    assert facts["screen"]["verdict"]
    assert "screen" not in json.loads((tmp_path / "plain" / "run.json").read_text())


def test_an_edit_that_is_not_worth_it_is_not_begun(sparks: Sparks, tmp_path: Path) -> None:
    code, _, err = sparks("solve", *CLIP, "--screen", "1", "--output", str(tmp_path / "run"))
    assert code == 2
    assert "less than screen=1: nothing was searched" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("least", ["1.5", "-0.1"])
def test_a_chance_is_between_0_and_1(least: str, sparks: Sparks) -> None:
    code, _, _ = sparks("solve", *CLIP, "--screen", least, "--dry-run")
    assert code == 2
