"""Every command that README and docs quote is run, or dry-run, as it is typed there."""

import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from sparks.editors.levers import LTX2Levers
from sparks.media.clip import write_clip
from sparks.models import machine
from sparks.models.weights import weights_path
from sparks.runs.edit import edit
from sparks.settings.layers import assignments
from sparks.settings.schema import Config
from tests.editors.conftest import make_clip
from tests.workplace import run_sparks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
REHEARSED = ("solve", "bench", "ablate")
RUN = ("doctor", "plugins", "report", "watch")
# What stands for a thing of the reader's own.
STANDS_FOR = {"VIDEO": "clip.mp4", "MODEL": "my-model", "FOLDER": "my-model", "RUN": "first"}
PLUGIN = """
from sparks.spaces.base import FullSpace
class {name}(FullSpace):
    differentiable = True
    def __init__(self, start=None, **options):
        pass
    def run(self, problem, rng):
        pass
    def log_odds(self, frames, prompt, indices=None):
        pass
"""
Sparks = Callable[..., tuple[int, str, str]]


def quoted() -> list[str]:
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^\s*(?:.*&& )?(sparks [^\n]*)", text, flags=re.MULTILINE)
        for line in lines + re.findall(r"`(sparks [^`\n]+)`", text):
            command = " ".join(re.sub(r"\s+#.*$", "", line).split())
            with contextlib.suppress(ValueError):  # prose that begins with the name
                shlex.split(command)
                found[command] = page.name
    return [command for command in found if command.split()[1] in _commands() | {"--help"}]


def _commands() -> set[str]:
    rooms = [ROOT / "sparks" / room / "cli.py" for room in ("", "evaluation", "insight", "studio")]
    text = "".join(path.read_text(encoding="utf-8") for path in rooms)
    names = re.findall(r"@app\.command\(.*?\)\ndef (\w+)", text)
    return {*(name.rstrip("_") for name in names), "pocket", "survey"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages take for granted."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("clip.mp4", "video.mp4", "other.mp4", "other-place/clip.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_clip(folder / name, make_clip(17))
    (folder / "my-model").symlink_to(weights_path())
    theirs = folder / "editing" / "configs" / "red_rose_blooming.yaml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("src_video: clip.mp4\nedit_prompt: A red rose blooming.\n")
    quick = {"sampling": {"num_inference_steps": 2, "grad_steps": 1}, "budget": "qwen_calls=1"}
    with contextlib.chdir(folder):
        edit(quick, Path("first"))
        os.link("first/edited.mp4", "edited.mp4")
    return folder


@pytest.fixture
def sparks(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Sparks:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(machine, "free_memory", lambda device: 10**12)  # of a large machine
    return lambda *arguments: run_sparks(monkeypatch, capsys, *arguments)


def as_typed(command: str, place: Path) -> list[str]:
    words = [STANDS_FOR.get(word, word) for word in shlex.split(command)[1:]]
    for word in words:
        for file, name in re.findall(r"([\w./-]+\.py|your_package\.editor):(\w+)", word):
            path = place / file.replace("your_package.editor", "your_package/editor.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PLUGIN.format(name=name))
    words = ["a red ball jumps" if word == "..." else word for word in words]
    # A page may begin a run where the one before it ended.
    pairs = zip(["", *words], words, strict=False)
    return [f"{word}-again" if before == "--output" else word for before, word in pairs]


@pytest.mark.parametrize("command", quoted())
def test_a_quoted_command_can_be_typed(command: str, place: Path, sparks: Sparks) -> None:
    words = as_typed(command, place)
    for name in re.findall(r"[\w./-]+\.yaml", command):
        if not (place / name).exists():
            own = ROOT / name  # a file that the page names may be the repository's
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(own.read_text() if own.is_file() else "a: {}\nb: {seed: 7}\n")
    if words[0] in REHEARSED and len(words) > 1 and "--resume" not in words:
        code, _, err = sparks(*words, "--dry-run")
        assert code == 0, err
    elif words[0] in RUN and (len(words) > 1 or words[0] in ("doctor", "plugins")):
        code, out, err = sparks(*words)
        assert (code, bool(out)) == (0, True), err
    else:
        inner = words[:2] if words[0] in ("pocket", "survey") else words[:1]
        code, out, err = sparks(*inner, "--help") if inner != ["--help"] else sparks("--help")
        assert code == 0, err
        for option in (word for word in words if word.startswith("--")):
            assert option in out


def test_there_are_commands_to_test() -> None:
    assert len(quoted()) > 40


def leaves(value: Any, before: str = "") -> dict[str, Any]:
    """Defaults of all settings by their keys."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if not isinstance(value, dict):
        return {before.rstrip("."): value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= leaves(inner, f"{before}{name}.")
    return found


# Where a value of the same type will not do.
VALUES: dict[str, Any] = {
    "video": "clip.mp4",
    "prompt": "a red ball jumps",
    "static_prompt": "a red ball stays still",
    "audio_prompt": "a red ball jumps",
    "prefix_frames": 9,
    "window": [0.2, 0.8],
    "model": "my-model",
    "device": "cpu",
    "dtype": "bfloat16",
    "editor.name": "sparks.editors.ltx2:LTX2Editor",
    "editor.devices": ["cpu", "cpu"],
    "clip.size": [48, 72],
    "clip.fps": 12.0,
    "clip.num_frames": 17,
    "clip.fit": "squash",
    "critic.name": "clip",
    "critic.model": "my-model/critic",
    "critic.dtype": "bfloat16",
    "critic.sampling": "normal",
    "judge": {"name": "clip", "num_frames": 4},
    "objective.anchor": "init",
    "objective.reduction": "sum",
    "objective.latent_schedule": "linear",
    "objective.size": [64, 64],
    "space.name": "random",
    "solver.name": "cma",
    "budget": "renders=3",
    "screen": 0.25,
    "sound": "tuned",
    "preview_every": 3,
    "keep": "all",
    "listeners": ["tensorboard"],
    "sampling.schedule": "distilled",
    "sampling.frozen_audio_sigma": "zero",
    "sampling.alpha_gradient": "reference",
    "sampling.coords_dtype": "bfloat16",
    "editor.levers.attention": "_native_flash",
    "editor.levers.compile": False,
    "editor.levers.joined_projections": True,
    "editor.levers.cuda_graphs": True,
    "editor.levers.compile_backend": "eager",
    "editor.levers.activation_budget": 0.5,
    "editor.levers.keep_blocks": 2,
    "editor.levers.decoder_checkpointing": True,
    "negative_prompt": "blurry",
    "space.mode": "text",
    "critic.norm": "legacy",
    "sampling.num_inference_steps": 12,
    "sampling.grad_steps": 3,
    "guidance.tuning.stg_blocks": [1],
    "guidance.final.stg_blocks": [1],
    "guidance.tuning.video.stg_blocks": [0],
    "guidance.tuning.audio.stg_blocks": [2],
    "guidance.final.video.stg_blocks": [0, 3],
    "guidance.final.audio.stg_blocks": [2],
}


def other(key: str, default: Any) -> Any:
    """A value that is not the default, of its type."""
    if key in VALUES:
        return VALUES[key]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default / 2 + 0.25
    pytest.fail(f"say which value {key} shall be set to")


LEAVES = leaves({name: getattr(Config(), name) for name in Config.model_fields})
LEAVES |= leaves(LTX2Levers(), "editor.levers.")
LEAVES |= {"solver.lr": 0.1, "solver.patience": 15, "solver.min_delta": 0.0}
LEAVES |= {"space.mode": "both", "critic.norm": "clip"}
# What a setting cannot be without.
BESIDE = {
    "video": ["prompt=a red ball jumps"],
    "editor.levers.activation_budget": ["editor.levers.compile=true"],
    "solver.lr": ["solver.name=adam"],
    "solver.patience": ["solver.name=adam"],
    "solver.min_delta": ["solver.name=adam"],
    "critic.norm": ["critic.name=qwen"],
}


def chosen(config: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_is_set_by_hand_and_from_a_file(
    key: str, sparks: Sparks, tmp_path: Path
) -> None:
    value = other(key, LEAVES[key])
    beside = BESIDE.get(key, [])
    if key.startswith("guidance"):
        beside = [f"{key.rpartition('.')[0].split('.')[0]}.{key.split('.')[1]}.stg_blocks=[1]"]
    pairs = [f"{key}={json.dumps(value)}", *(pair for pair in beside if pair.split("=")[0] != key)]
    code, out, err = sparks(
        *("solve", "--dry-run", "--json"), *(word for pair in pairs for word in ("--set", pair))
    )
    assert code == 0, err
    typed = json.loads(out)["config"]
    assert chosen(typed, key) == value or key == "judge"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(assignments(pairs)))
    named = ["--set", pairs[0]] if ":" in str(value) else []  # code is named by hand as well
    code, out, err = sparks(
        "solve", "--dry-run", "--json", "--config", str(tmp_path / "mine.yaml"), *named
    )
    assert code == 0, err
    assert json.loads(out)["config"] == typed
