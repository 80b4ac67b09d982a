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


def test_gradients_of_two_ways_of_storing_are_compared(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "benchmarks/iteration.py", "--size", "tiny", "--json"),
        *("--steps", "2", "--grad-steps", "1", "--iterations", "1"),
        *("--no-text-encoder", "--no-lpips", "--gradient", str(tmp_path / "gradient.pt")),
    ]
    cosines = []
    for storage in ("resident", "offload", "fp8"):
        done = subprocess.run(
            [*command, "--storage", storage], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        cosines.append(json.loads(done.stdout)["gradient_cosine_to_file"])
    assert cosines[0] is None
    assert cosines[1] > 0.99999
    assert 0.9 < cosines[2] < 0.99999
