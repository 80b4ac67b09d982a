"""The benchmarks of maps, on their smallest sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_attention_is_gathered_at_any_size() -> None:
    result = json.loads(run("attention_memory.py", "--size", "tiny", "--steps", "2", "--json"))
    assert result["same"]
    assert result["maps"]["text/block"] == [2, 12, 1, 2]
    assert 0 < result["kept"] < result["whole"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sparks.experiments.bench import plan_bench, run_experiment
    from sparks.experiments.tasks import task_list

    folder = tmp_path_factory.mktemp("benchmarks") / "bench"
    base = {"sampling": {"num_inference_steps": 2, "grad_steps": 1}, "budget": "qwen_calls=2"}
    base |= {"solver": {"name": "random"}}
    run_experiment(folder, plan_bench(base, task_list("dev10")[:3]))
    return folder


def test_maps_of_attention_are_compared_with_the_truth_and_not_made_twice(
    bench: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    arguments = [str(bench), "--output", str(tmp_path / "out"), "--ledger", str(ledger)]
    first = run("attention.py", *arguments)
    assert first.count("cells/") == 3
    assert "tuned, sound on motion" in first
    assert run("attention.py", *arguments).count("cells/") == 0
    line = json.loads(ledger.read_text().splitlines()[0])
    assert (line["halves"], line["tasks"], line["edits"]) == (["development"], 3, 3)
    metrics = {figure["metric"] for figure in line["figures"]}
    assert {"sound on motion: more", "object words on object: overlap"} <= metrics


def test_maps_of_controls_are_compared_with_shuffled_labels(bench: Path, tmp_path: Path) -> None:
    said = run("maps.py", str(bench), "--output", str(tmp_path / "out"))
    assert "alpha by action asked for" in said
    found = json.loads((tmp_path / "out" / "table.json").read_text())
    assert {each["of"] for each in found} == {"alpha", "alpha - alpha_0", "delta_v"}
    assert all(each["low"] <= each["shuffled"] <= each["high"] for each in found)
