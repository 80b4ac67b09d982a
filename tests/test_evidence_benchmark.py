"""The figures of docs/evidence.md, from rows whose answer is known."""

import json
import subprocess
import sys
from pathlib import Path

from sparks.experiments.ablate import plan_ablation
from sparks.experiments.tasks import task_list

ROOT = Path(__file__).parents[1]
SEEDS = 2


def rows(setting: str, happened: bool) -> list[dict]:
    """Ten tasks of two seeds each; the judge always says yes, the prompt alone moves nothing."""
    return [
        {"setting": setting, "match": None, "task": task.name, "seed": seed, "accepted": True}
        | {"happened_baseline": False, "happened_edited": happened or seed == 5001}
        | {"true_baseline": False, "true_edited": happened}
        | {
            "p_yes_baseline": 0.1,
            "p_yes_judge_baseline": 0.1,
            "p_yes_judge_edited": 0.9,
            "p_yes_edited": 0.8,
        }
        for task in task_list("test10")
        for seed in (5001, 5002)
    ]


def printed(folder: Path) -> str:
    plan = plan_ablation(
        "two", {"seed": 5001}, {"good": {}, "poor": {}}, task_list("test10"), seeds=SEEDS
    )
    plan.save(folder)
    by_key = {(r["setting"], r["task"], r["seed"]): r for r in rows("good", True)}
    by_key |= {(r["setting"], r["task"], r["seed"]): r for r in rows("poor", False)}
    for cell in plan.cells:
        path = cell.row(folder)
        path.parent.mkdir(parents=True)
        row = by_key[cell.setting, cell.task, cell.settings["seed"]]
        path.write_text(json.dumps(row | {"folder": cell.name}))
    command = [sys.executable, "benchmarks/evidence.py", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rates_differences_and_the_judge(tmp_path: Path) -> None:
    good, poor = printed(tmp_path).split("## poor")
    assert "| happened, tuned - prompt only | +1.00 [+1.00, +1.00] |" in good
    assert "| happened, tuned | 20 of 20: 1.00 [0.84, 1.00] |" in good
    assert "| happened, tuned | 10 of 20: 0.50 [0.30, 0.70] |" in poor
    assert "| tuned | 10 of 10: 1.00 [0.72, 1.00] | 0 of 10: 0.00 [0.00, 0.28] | 0.50 |" in poor
    assert "no of what did not" in poor
    # the guide accepts all as well, so that both are wrong of the same
    assert "| happened, edited | +1.00 [+1.00, +1.00] | 10 of 10: 1.00 [0.72, 1.00] |" in poor
    assert "| happened, edited | none: one of them makes no errors" in good
    assert "| good - poor | +0.50 [" in poor
    assert "+0.00 [+0.00, +0.00], none" in poor  # both please the guide as much
