"""Models of the hub, found in its cache without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sparks.pocket import weights_path
from tests.editors.conftest import write_model

EDITOR, CRITIC = "someone/tiny-ltx", "someone/tiny-qwen"

LOAD = f"""
import torch
from sparks.settings.schema import Config
from sparks.critics.qwen import QwenCritic
from sparks.editors import LTX2Editor
from sparks.models.weights import fetch, find, parameters

editor = LTX2Editor({EDITOR!r}, "cpu")
assert sum(p.numel() for p in editor.transformer.parameters()) > 1000
assert "transformer" in parameters({EDITOR!r})
fetch({CRITIC!r})
critic = QwenCritic({CRITIC!r})
odds = critic.log_odds(torch.rand(1, 4, 3, 64, 64), "a red ball jumps")
assert odds.isfinite().all()
print(editor.folder)
print(find({CRITIC!r}))
"""
REFUSE = """
from sparks.errors import SparksError

for load in (LTX2Editor, fetch):
    try:
        load("someone/else")
    except SparksError as error:
        print(error)
"""


def put(cache: Path, hub_id: str, folder: Path) -> Path:
    """What the hub's client leaves behind after fetching a model."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    home = cache / ("models--" + hub_id.replace("/", "--"))
    shutil.copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    return home / "snapshots" / commit


def run(code: str, home: Path) -> list[str]:
    # The hub's client reads its settings once, when it is imported.
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hub")
    put(home / "hub", EDITOR, write_model(tmp_path_factory.mktemp("model")))
    put(home / "hub", CRITIC, Path(weights_path()) / "critic")
    return home


def test_cached_models_load_offline_and_others_are_refused(home: Path) -> None:
    editor, critic, no_editor, no_critic = run(LOAD + REFUSE, home)
    assert Path(editor).parent.parent == home / "hub" / "models--someone--tiny-ltx"
    assert Path(critic).parent.parent == home / "hub" / "models--someone--tiny-qwen"

    assert no_editor.startswith("model 'someone/else' is not on this machine and cannot be fetched")
    assert no_critic.startswith("model 'someone/else' is not on this machine and cannot be fetched")


LOOK = """
from sparks.models.weights import find, parameters
from sparks.runs.doctor import examine

for model in ("someone/tiny-ltx", "someone/else"):
    print(find(model) is not None, sum(parameters(model).values()) > 0)
print(examine("someone/tiny-ltx")["models"]["someone/tiny-ltx"]["state"])
"""


def test_doctor_and_memory_plan_find_what_loading_finds(home: Path) -> None:
    assert run(LOOK, home) == ["True True", "False False", "here"]
