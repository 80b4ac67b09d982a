"""`sparks bench --promising`: the likeliest edit first."""

import json
from pathlib import Path

import pytest

from sparks.experiments.cells import load_plan
from sparks.runs.screening.predictor import Predictor
from tests.workplace import CRITIC, Sparks


def test_the_likeliest_edit_is_made_first_and_looked_at_once(
    sparks: Sparks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def probability(predictor: Predictor, probe: object) -> float:
        seen.append(probe.prompt)  # type: ignore[attr-defined]
        return {"a red ball jumps": 0.2, "a blue ball grows": 0.7}[seen[-1]]

    monkeypatch.setattr(Predictor, "probability", probability)
    folder = tmp_path / "bench"
    asked = ("bench", "--tasks", "tasks.yaml", "--config", "settings.yaml", *CRITIC)
    code, _, err = sparks(*asked, "--output", str(folder), "--promising")
    assert code == 0, err
    assert sorted(seen) == ["a blue ball grows", "a red ball jumps"]
    names = [cell.task for cell in load_plan(folder).cells]
    assert names == ["own", "00-jump"]
    ends = [
        (folder / cell.name / "row.json").stat().st_mtime_ns for cell in load_plan(folder).cells
    ]
    assert ends == sorted(ends)
    chances = json.loads((folder / "chances.json").read_text())
    assert sorted(chances.values()) == [0.2, 0.7]
    code, _, err = sparks(*asked, "--output", str(folder), "--promising")
    assert (code, len(seen)) == (0, 2), err
