import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_agent.py"


def test_the_example_trains_an_agent() -> None:
    command = [sys.executable, str(EXAMPLE), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'p_yes': " in done.stdout
    assert len(EXAMPLE.read_text().splitlines()) <= 16
