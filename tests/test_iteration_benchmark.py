"""The benchmark of an iteration, on its smallest size."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_naive_way_computes_the_same_gradient() -> None:
    command = [
        *(sys.executable, "benchmarks/iteration.py", "--size", "tiny", "--json"),
        *("--steps", "2", "--grad-steps", "1", "--iterations", "1", "--compare", "naive"),
        *("--no-text-encoder", "--no-lpips"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["gradient_cosine"] > 0.999
    assert result["gradient_norm"] > 0
    assert result["ratio"] == result["naive_seconds"] / result["fast_seconds"]
    assert result["naive_costs"].keys() == {
        *("rebuild", "audio", "clear", "backwards", "logits"),
        *("modulation", "positions", "recompute", "tiles"),
    }
    assert {"prefix steps", "differentiable steps", "decode", "critic", "backward"} <= (
        result["fast_stages"].keys() & result["flops"].keys()
    )
    assert result["peak_bytes"] > 0
