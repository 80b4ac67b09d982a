"""One pool of edits for all tables, and what is laid out of it."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import evidence  # noqa: E402
import tables  # noqa: E402

from sparks.experiments.cells import finished, load_plan  # noqa: E402

VIDEOS = ("baseline.mp4", "edited.mp4")


@pytest.fixture(scope="module")
def pool() -> tables.Pool:
    names = ("solvers", "seconds", "modality", "regularisation", "audio_init", "gradient")
    return tables.Pool({name: tables.TABLES[name].plan({}, 2, 1) for name in names})


def test_settings_that_decide_the_same_edit_are_run_once(pool: tables.Pool) -> None:
    def made(table: str, setting: str) -> str:
        cell = next(cell for cell in pool.plans[table].cells if cell.setting == setting)
        return pool.cells[pool.key(cell)].name

    default = made("solvers", "hybrid")
    assert made("modality", "both") == made("regularisation", "all") == default
    assert made("audio_init", "source-anchored") == made("gradient", "direct") == default
    assert made("modality", "both-unregularised") == made("regularisation", "none") != default
    assert made("audio_init", "source") != default
    assert made("solvers", "adam") == made("seconds", "adam")


def test_seconds_are_those_of_the_same_task_and_seed_alone_on_its_cores(pool: tables.Pool) -> None:
    plan = pool.plan(["seconds"])
    names = {cell.name: cell for cell in plan.cells}
    matched = [cell for cell in plan.cells if cell.reference]
    assert len(matched) == 2 * 5
    for cell in matched:
        reference = names[str(cell.reference)]
        assert (reference.setting, reference.task, reference.alone) == ("adam", cell.task, True)
        assert reference.settings["seed"] == cell.settings["seed"]
    seeds = [cell.settings["seed"] for cell in pool.plan(["modality"]).cells]
    assert seeds == sorted(seeds)  # a stopped run has all settings of the first seeds


def test_a_table_is_laid_of_what_is_finished_under_its_own_names(
    pool: tables.Pool, tmp_path: Path
) -> None:
    edits = tmp_path / tables.EDITS
    plan = pool.plan(["modality"])
    plan.save(edits)
    (edits / "sources").mkdir()
    for cell in plan.cells[:-1]:
        home = edits / cell.name
        home.mkdir(parents=True)
        row = {"setting": cell.setting, "match": None, "task": cell.task, "folder": cell.name}
        row |= {"seed": cell.settings["seed"], "prompt": "it", "solver": "hybrid", "dim": 33}
        row |= {"space": "temporal", "accepted": True, "p_yes_baseline": 0.1, "p_yes_edited": 0.9}
        row |= {"p_yes_judge_baseline": 0.1, "p_yes_judge_edited": 0.9}
        row |= {f"{k}_{v}": v == "edited" for k in ("happened", "true") for v in evidence.TOGETHER}
        (home / "row.json").write_text(json.dumps(row))
        cost = {"qwen_calls": 1, "wall_clock": 1.0}
        line = {"best": True, "total": 1.0, "p_yes": 0.1, "cost": cost}
        (home / "history.jsonl").write_text(json.dumps(line) + "\n")
        for name in VIDEOS:
            (home / name).write_text(cell.name)
    tables.write(pool, tmp_path, list(pool.plans))
    rows = finished(tmp_path / "modality", load_plan(tmp_path / "modality"))
    assert [row["setting"] for row in rows].count("both") == 2
    assert len(rows) == len(plan.cells) - 1
    for row in rows:
        assert (tmp_path / "modality" / row["folder"] / "edited.mp4").is_file()
    text = (tmp_path / "tables.md").read_text()
    assert "# modality, 7 of 8 edits" in text
    assert "# regularisation, 3 of 10 edits" in text
    assert "| text - both | +0.00 [+0.00, +0.00], none |" in text
    tables.write(pool, tmp_path, list(pool.plans))  # once more changes nothing
    assert (tmp_path / "tables.md").read_text() == text
