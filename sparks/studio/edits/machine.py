"""What this machine can do, asked of processes of their own: a server holds no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparks.files import read_json
from sparks.models.weights import BUNDLED, find
from sparks.settings.layers import recommended

_COUNT = "import torch; print(torch.cuda.device_count())"
_OLD = 60.0  # seconds after which an answer is asked for anew
_MOST_WORDS = 300
_LARGEST = 2**20  # bytes of a tokenizer that may be one of words


def devices() -> list[str]:
    """`cuda:N` for each GPU that may be used, `cpu` without any."""
    told = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True)
    count = int(told.stdout.strip() or 0) if told.returncode == 0 else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return [f"cuda:{name.strip()}" for name in names[:count]] or ["cpu"]


@dataclass(frozen=True)
class Model:
    """An editor that may be chosen.

    Attributes:
        name: `pocket`, a hub id or a folder.
        folder: None where it is not on this machine.
        clip: what its own settings say of `size`, `fps` and `num_frames`.
        compression: frames that a latent frame stands for.
        words: all that its prompts may hold; empty where they are free.
        settings: what else its own settings say.
    """

    name: str
    folder: Path | None
    clip: dict[str, Any] = field(default_factory=dict)
    compression: int = 8
    words: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def model(name: str) -> Model:
    """What is known of a model before it is loaded."""
    folder = find(name)
    if folder is None:
        return Model(name, None)
    told = recommended(folder)
    compression = _json(folder / "vae" / "config.json").get("temporal_compression_ratio", 8)
    return Model(name, folder, told.get("clip") or {}, compression, known_words(folder), told)


def known_words(folder: Path) -> tuple[str, ...]:
    """The words of a model that knows few; nothing for one that reads any text."""
    path = folder / "tokenizer" / "tokenizer.json"
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return ()
    tokenizer = _json(path).get("model")
    vocabulary = tokenizer.get("vocab") if isinstance(tokenizer, dict) else None
    words = [w for w in vocabulary if w.isalpha()] if isinstance(vocabulary, dict) else []
    return tuple(sorted(words)) if len(words) <= _MOST_WORDS else ()


class Doctor:
    """What `sparks doctor` says; nobody waits for it, and it is asked anew when that is old.

    Args:
        models: to ask about besides those that it knows.
    """

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.models = models
        self.findings: dict[str, Any] = {}
        self._asked = 0.0
        self._asking = threading.Lock()

    def ask(self) -> None:
        """Ask in the background."""
        self._asked = time.monotonic()
        threading.Thread(target=self._ask, daemon=True).start()

    def verdict(self, model: str) -> dict[str, Any] | None:
        """Whether a model would run here; None while that is not known."""
        if self._asked and time.monotonic() - self._asked > _OLD:
            self.ask()
        fits = self.findings.get("fits", [])
        return next((each for each in fits if each["model"] == model), None)

    def here(self) -> list[str]:
        """Models that are on this machine, the bundled one first."""
        states = self.findings.get("models", {})
        found = [name for name, each in states.items() if each["state"] == "here"]
        return [*dict.fromkeys([*self.models, BUNDLED, *found])]

    def _ask(self) -> None:
        if not self._asking.acquire(blocking=False):
            return
        try:
            for name in self.models or (None,):
                said = subprocess.run(
                    [sys.executable, "-m", "sparks.cli", "doctor", "--json"]
                    + (["--model", name] if name else []),
                    capture_output=True,
                    text=True,
                )
                if said.returncode == 0:
                    self._learn(json.loads(said.stdout))
        finally:
            self._asking.release()

    def _learn(self, findings: dict[str, Any]) -> None:
        before = self.findings
        fits = {each["model"]: each for each in (*before.get("fits", []), *findings["fits"])}
        models = {**before.get("models", {}), **findings["models"]}
        self.findings = {**findings, "fits": list(fits.values()), "models": models}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
