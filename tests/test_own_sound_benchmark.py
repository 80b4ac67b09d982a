"""The benchmark of the action's own sound, on one edit."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from sparks.experiments.tasks import task_list

ROOT = Path(__file__).parents[1]


def test_a_slide_happens_with_its_own_sound_and_not_with_the_source_s(tmp_path: Path) -> None:
    task = next(task for task in task_list("dev40") if task.name == "01-slide-left")
    source = {name: getattr(task.source, name) for name in ("seed", "count", "index", "action")}
    entry = {"name": "slide", "source": source, "prompt": task.prompt}
    tasks = tmp_path / "one.yaml"
    tasks.write_text(yaml.safe_dump({"tasks": [entry]}))
    command = [sys.executable, "benchmarks/own_sound.py", "--tasks", str(tasks), "--seeds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    means = re.findall(r"\| (.+) \| ([01]\.\d\d) \[", done.stdout)
    assert means == [("the source's", "0.00"), ("the action's own", "1.00")]
