"""How long the studio takes to list a large folder of runs: python benchmarks/studio.py [COUNT].

COUNT run folders (5,000) are made with the files that a listing looks at, a tenth of them cells of
an experiment. A server, as `sparks studio` starts it, is asked for the list by HTTP: the first time
it reads every folder; then it looks whether any has changed; then another server has what the first
one stored. The last row searches. Fails if a list of what is indexed takes a second.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

COUNT = 5000
PORT = 8049
LIMIT = 1.0  # seconds
WORDS = ("jumps", "spins", "grows", "slides left", "blinks")


def make(root: Path, count: int) -> None:
    """Run folders as `sparks solve` and `sparks bench` leave them, without the videos."""
    for number in range(count):
        inside = number % 10 == 0
        run = root / (f"bench/cells/default/task-{number}" if inside else f"2026-{number:05}-edit")
        run.mkdir(parents=True)
        prompt = f"a red ball {WORDS[number % len(WORDS)]}"
        (run / "config.yaml").write_text(f"prompt: {prompt}\nmodel: pocket\n" + "x: 1\n" * 60)
        facts = {"prompt": prompt, "source": {"name": "clip.mp4"}, "cost": {}}
        (run / "run.json").write_text(json.dumps(facts))
        result = {"solver": "hybrid", "p_yes_baseline": 0.1, "p_yes_edited": 0.9}
        result |= {"stopped_by": "qwen_calls", "spent": {"renders": 30, "wall_clock": 20.0}}
        (run / "result.json").write_text(json.dumps(result))
        (run / "history.jsonl").write_text("{}\n" * 30)
    (root / "bench" / "plan.json").write_text("{}")


@contextlib.contextmanager
def serving(root: Path) -> Iterator[None]:
    """While a server answers; its small files are asked for once."""
    command = [sys.executable, "-m", "sparks.cli", "studio", str(root), "--devices", "cpu"]
    server = subprocess.Popen([*command, "--port", str(PORT)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    try:
        ask("/static/base.css")
        yield
    finally:
        server.terminate()
        server.wait()


def ask(path: str) -> float:
    """Seconds until a page is there."""
    started = time.perf_counter()
    answer = httpx.get(f"http://127.0.0.1:{PORT}{path}", timeout=120)
    answer.raise_for_status()
    return time.perf_counter() - started


def main(count: int) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        make(root, count)
        times: dict[str, float] = {}
        with serving(root):
            times["read for the first time"] = ask("/")
            time.sleep(1.5)
            times["indexed, looked at again"] = ask("/")
        with serving(root):
            times["indexed, by another server"] = ask("/")
            time.sleep(1.5)
            times["searched"] = ask("/?q=spins+hybrid")
    print(f"| {count:,} runs | seconds |\n| --- | ---: |")
    for what, seconds in times.items():
        print(f"| {what} | {seconds:.2f} |")
    slow = [what for what, seconds in times.items() if "first" not in what and seconds > LIMIT]
    if slow:
        print(f"over {LIMIT:g} s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT))
