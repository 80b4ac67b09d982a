"""A piece of work that ends whoever does it; apart, so that workers load nothing else for it."""

import os
import signal
import time
from pathlib import Path


def end_once(folder: Path, how: signal.Signals, piece: str) -> None:
    """Do a piece; who is at the first one is ended by a signal, once."""
    if piece == "a" and not (folder / "mortal").exists():
        (folder / "mortal").touch()
        os.kill(os.getpid(), how)
    (folder / f"{piece}.txt").write_text("done")


def stay(folder: Path, piece: str) -> None:
    """Do a piece that takes for ever, and say who is at it."""
    (folder / f"{piece}.pid").write_text(str(os.getpid()))
    time.sleep(600)
