"""Workers of a driver that is killed end too: nothing goes on beside the next one."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DRIVER = """
import functools, sys
from pathlib import Path
from sparks.experiments.executors.processes import Processes
from sparks.search.executors import Pieces
from tests.experiments.ending import stay

folder = Path(sys.argv[1])
outputs = {piece: folder / f"{piece}.txt" for piece in ("a", "b")}
Processes(2).run(Pieces.writing(folder, outputs, functools.partial(stay, folder)))
"""


def until(so: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not so() and time.monotonic() < end:
        time.sleep(0.1)
    return so()


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_end_with_their_driver(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)])
    try:
        files = [tmp_path / f"{piece}.pid" for piece in ("a", "b")]
        assert until(lambda: all(file.is_file() and file.read_text() for file in files), 120)
        workers = [int(file.read_text()) for file in files]
        assert len(set(workers)) == 2
        assert all(map(alive, workers))
    finally:
        driver.kill()
        driver.wait()
    assert until(lambda: not any(map(alive, workers)), 30)
