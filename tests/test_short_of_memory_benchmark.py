"""The benchmark of batches and of memory that ends, on its smallest size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_a_batch_scores_its_candidates_as_they_score_alone() -> None:
    command = [sys.executable, "benchmarks/short_of_memory.py", "--batches", "1", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    alone, both = json.loads(done.stdout)["batches"]
    assert both["totals"][0] == pytest.approx(alone["totals"][0], abs=1e-6)
    assert both["totals"][0] != both["totals"][1]
    assert min(alone["seconds"], both["seconds"]) > 0
