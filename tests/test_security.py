"""Nothing that is read can run code, reach the network, or write outside the run directory."""

import ast
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

from sparks.editors.loading import ModelFolder
from sparks.errors import SparksError
from sparks.experiments.ablate import plan_ablation
from sparks.experiments.bench import run_experiment
from sparks.experiments.cells import Cell, Plan, claim
from sparks.experiments.tasks import Task, task_list
from sparks.media.clip import write_clip
from sparks.pocket.tasks import Source
from sparks.runs.edit import go_on
from sparks.runs.folder import discard
from sparks.runs.prepare import prepare
from sparks.runs.report import report
from sparks.runs.resolve import check_settings
from sparks.search.journal import Journal
from sparks.settings.layers import layers, recommended
from tests.editors.conftest import make_clip, write_model
from tests.workplace import REDNESS

SOURCES = sorted(Path(__file__).parents[1].glob("sparks/**/*.py"))
MODULES = {"pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}
MODULES |= {"urllib.request", "requests", "httpx", "aiohttp", "socket", "ftplib", "http.client"}
CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"}
CALLS |= {"torch.hub.load", "torch.hub.load_state_dict_from_url", "subprocess.getoutput"}


def offences(source: str) -> Iterator[str]:
    """What a module imports or calls that could run, or fetch, what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from MODULES & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            yield from MODULES & {node.module or ""}
        elif isinstance(node, ast.Call):
            called, options = ast.unparse(node.func), {key.arg: key.value for key in node.keywords}
            texts = {name: ast.unparse(value) for name, value in options.items()}
            safe_yaml = len(node.args) == 2 and ast.unparse(node.args[1]) == "_Loader"
            if (
                called in CALLS
                or (called == "torch.load" and texts.get("weights_only") != "True")
                or (called == "yaml.load" and not safe_yaml)
                or "True" in (texts.get("allow_pickle"), texts.get("shell"))
                or "trust_remote_code" in texts
            ):
                yield called


def test_the_package_unpickles_and_evaluates_nothing() -> None:
    found = {path.name: list(offences(path.read_text())) for path in SOURCES}
    assert len(found) > 40
    assert {name: calls for name, calls in found.items() if calls} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch; torch.load(p)",
        "torch.load(p, weights_only=False)",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "np.load(p, allow_pickle=True)",
        "subprocess.run(c, shell=True)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "def f(): return eval(text)",
    ],
)
def test_an_offence_would_be_found(source: str) -> None:
    assert list(offences(source))


def test_yaml_constructs_plain_data_only(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "a.yaml").write_text(f"prompt: !!python/object/apply:os.mkdir ['{mark}']")
    with pytest.raises(SparksError, match="not valid YAML"):
        layers([str(tmp_path / "a.yaml")], {}, [])
    with pytest.raises(SparksError, match="not valid YAML"):
        layers([], {}, [f"prompt=!!python/object/apply:os.mkdir ['{mark}']"])
    assert not mark.exists()


PLUGIN = """
from pathlib import Path
Path(__file__).with_suffix('.ran').touch()
class Solver:
    def run(self, problem, rng): ...
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path / "plugin.py"


def test_plugin_files_run_only_when_named_on_the_command_line(tmp_path: Path, plugin: Path) -> None:
    config, name, ran = tmp_path / "a.yaml", f"{plugin}:Solver", plugin.with_suffix(".ran")
    config.write_text(json.dumps({"solver": {"name": name}}))
    with pytest.raises(SparksError, match=f"names the code {name}"):
        check_settings(layers([str(config)], {}, []))
    with pytest.raises(SparksError, match="names the code"):
        check_settings(layers([str(config)], {"solver": "adam"}, []))
    assert not ran.exists()
    check_settings(layers([str(config)], {"solver": name}, []))
    assert ran.exists()


def test_a_file_cannot_call_any_function_by_naming_it(tmp_path: Path) -> None:
    (tmp_path / "treasure").mkdir()
    config = tmp_path / "a.yaml"
    options = {"name": "shutil:rmtree", "path": str(tmp_path / "treasure")}
    for section in ("solver", "critic", "space", "editor", "judge"):
        config.write_text(json.dumps({section: options}))
        with pytest.raises(SparksError, match="names the code shutil:rmtree"):
            check_settings(layers([str(config)], {}, []))
    assert (tmp_path / "treasure").exists()


def test_a_model_folder_brings_no_code(tmp_path: Path, plugin: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / "sparks.yaml").write_text(json.dumps({"solver": {"name": f"{plugin}:Solver"}}))
    with pytest.raises(SparksError, match="names the code"):
        prepare({"model": str(model), "prompt": "red ball jumps"})
    assert not plugin.with_suffix(".ran").exists()


@pytest.mark.parametrize("key", ["video", "prompt", "model", "device", "listeners", "keep"])
def test_a_model_folder_does_not_say_what_is_the_users_to_say(tmp_path: Path, key: str) -> None:
    (tmp_path / "sparks.yaml").write_text(f"budget: qwen_calls=2\n{key}: x")
    with pytest.raises(SparksError, match=rf"sparks\.yaml says {key}, which is not for a model"):
        recommended(tmp_path)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("transformer", "text_encoder"):
        folder = write_model(tmp_path / name)
        (weights,) = (folder / name).glob("*.safetensors")
        weights.unlink()
        stem = "pytorch_model" if name == "text_encoder" else "diffusion_pytorch_model"
        (folder / name / f"{stem}.bin").write_bytes(pickle.dumps({"x": Bomb(mark)}))
        with pytest.raises(SparksError, match=f"cannot load {name}"):
            ModelFolder(folder).load_frozen(name, torch.device("cpu"), torch.float32)
    assert not mark.exists()


def test_a_model_of_this_machine_fetches_no_perceptual_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model = write_model(tmp_path / "model")
    (tmp_path / "critic.py").write_text(REDNESS)
    critic = {"name": f"{tmp_path}/critic.py:Redness"}
    settings = {"model": str(model), "prompt": "red ball jumps", "critic": critic}
    settings["guidance"] = {"final": {}}
    with pytest.raises(SparksError, match="need AlexNet"):
        prepare(settings)


# Runs the command and notes what the interpreter is asked to open, reach, unpickle or start.
WATCHED = """
import json, os, sys
events = []
def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        writing = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if args[2] else 0
        if writing or any(letter in str(args[1]) for letter in "wax+"):
            events.append(["write", os.path.abspath(os.fsdecode(args[0]))])
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.symlink", "os.link"):
        if args[-1] == -1:  # else the path is relative to an open folder
            target = args[1] if event in ("os.rename", "os.symlink", "os.link") else args[0]
            events.append(["write", os.path.abspath(os.fsdecode(target))])
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        events.append([event, str(args[1:])])
        raise OSError("no network here")
    elif event in ("pickle.find_class", "os.system"):
        events.append([event, str(args)])
sys.addaudithook(watch)
sys.argv = ["sparks", *sys.argv[2:]]
from sparks.cli import main
try:
    main()
finally:
    json.dump(events, open(os.environ["EVENTS"], "w"))
"""


def test_an_edit_stays_offline_and_in_its_directory(tmp_path: Path) -> None:
    for name in ("work", "home", "scratch"):
        (tmp_path / name).mkdir()
    places = {"HOME": "home", "TMPDIR": "scratch", "EVENTS": "scratch/events"}
    places["TORCHINDUCTOR_CACHE_DIR"] = "scratch/torch"
    env = os.environ | {key: str(tmp_path / value) for key, value in places.items()}
    env |= {"PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": matplotlib.get_configdir()}
    command = [sys.executable, "-c", WATCHED, "-", "solve", "--output", "run"]
    command += ["--budget", "qwen_calls=1", "--set", "sampling.num_inference_steps=2"]
    command += ["--set", "sampling.grad_steps=1"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path / "work", env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    events = json.loads((tmp_path / "scratch" / "events").read_text())
    assert len(events) > 20
    allowed = [str(tmp_path / name) for name in ("work/run", "scratch", "home")]
    allowed += [matplotlib.get_cachedir(), matplotlib.get_configdir(), os.devnull]
    strange = [
        event
        for event in events
        if event[0] != "write" or not any(Path(event[1]).is_relative_to(each) for each in allowed)
    ]
    assert strange == []
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["run"]


def test_a_folder_is_never_taken_for_a_hub_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_model(tmp_path / "here" / "model")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = ModelFolder("model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert folder.load_frozen("vae", torch.device("cpu"), torch.float32) is not None
    (tmp_path / "here").rename(tmp_path / "gone")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(SparksError, match="cannot load vae"):
        folder.load_frozen("vae", torch.device("cpu"), torch.float32)


def test_the_network_is_asked_for_hub_ids_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def refuse(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    for model in ("./nobody", "nobody", "../nobody/nothing", "~/nothing", "a/b/c"):
        with pytest.raises(SparksError, match="no model at"):
            prepare({"model": model, "prompt": "it"})
    assert not asked
    with pytest.raises(SparksError, match="model 'nobody/nothing' is not on this machine"):
        prepare({"model": "nobody/nothing", "prompt": "it"})
    assert asked


def plan(**changes: Any) -> dict[str, Any]:
    cell = {"setting": "a", "task": "t", "settings": {"seed": 1, "budget": "qwen_calls=1"}}
    task = {"name": "t", "source": "v.mp4", "prompt": "a red ball jumps"}
    return {"title": "x", "tasks": [task], "cells": [cell | changes]}


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"seed": "1/../../../../victim"}},
        {"task": "../../../victim"},
        {"setting": ".."},
        {"setting": "///"},
        {"match": "../../x", "reference": "cells/a/t-1"},
        {"match": "qwen_calls", "reference": "../victim"},
    ],
)
def test_a_foreign_plan_names_no_place_outside(tmp_path: Path, changes: dict[str, Any]) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "experiment"
    victim.mkdir()
    (victim / "only.copy").write_text("mine")
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan(**changes)))
    with pytest.raises(SparksError, match=r"plan\.json cannot be read"):
        run_experiment(folder)
    assert (victim / "only.copy").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "experiment"}


def test_two_settings_do_not_share_a_folder() -> None:
    with pytest.raises(SparksError, match="share the folder"):
        plan_ablation(
            "x", {}, {"a b": {}, "a!b": {"budget": "renders=1"}}, task_list("pocket12")[:1]
        )


@pytest.mark.parametrize("name", ["cells", "claims"])
def test_a_cell_behind_a_link_is_not_run(tmp_path: Path, name: str) -> None:
    folder, victim = tmp_path / "experiment", tmp_path / "victim"
    (victim / "t-1").mkdir(parents=True)
    (victim / "t-1" / "only.copy").write_text("mine")
    (folder / name).mkdir(parents=True)
    (folder / name / "a").symlink_to(victim)
    task = Task("t", Source(1, 1, 0), "a red ball jumps")
    Plan("x", [task], [Cell("a", "t", {"seed": 1})]).save(folder)
    with pytest.raises(SparksError, match="leads out of"):
        run_experiment(folder)
    assert [path.name for path in victim.iterdir()] == ["t-1"]
    assert [path.name for path in (victim / "t-1").iterdir()] == ["only.copy"]


@pytest.mark.parametrize("link", [False, True])
def test_a_foreign_plan_reads_no_video_outside(tmp_path: Path, link: bool) -> None:
    write_clip(tmp_path / "private.mp4", make_clip(17))
    folder = tmp_path / "experiment"
    task = Task("t", tmp_path / "private.mp4", "a red ball jumps")
    Plan("x", [task], [Cell("a", "t", {"seed": 1, "budget": "renders=1"})]).save(folder)
    (folder / "sources" / "t.mp4").unlink()  # as in a plan that somebody else wrote
    if link:
        (folder / "sources" / "t.mp4").symlink_to(tmp_path / "private.mp4")
    with pytest.raises(SparksError, match="leads out of" if link else "is missing; bring it back"):
        run_experiment(folder)
    assert not list(folder.glob("**/*.mp4")) or link


def test_a_cell_is_cleared_of_what_a_run_wrote_alone(tmp_path: Path) -> None:
    for name in (
        "config.yaml",
        "history.jsonl",
        ".run-abcdefgh.json",
        "only.copy",
        ".git-credentials",
    ):
        (tmp_path / name).write_text("mine")
    discard(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5  # nothing says that it is a run
    (tmp_path / "run.json").write_text('{"source": {}}')
    discard(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"only.copy", ".git-credentials"}


def test_resuming_a_folder_that_is_no_run_touches_nothing(tmp_path: Path) -> None:
    names = (".pre-commit-config.yaml", ".git-credentials", "config.yaml", "history.jsonl")
    for name in names:
        (tmp_path / name).write_text("mine")
    with pytest.raises(SparksError, match="no run at"):
        go_on(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SparksError, match="no run at"):
        go_on(tmp_path)
    assert {(tmp_path / name).read_text() for name in names} == {"mine"}


def test_resuming_runs_code_only_if_it_is_named_again(tmp_path: Path, plugin: Path) -> None:
    name, ran = f"{plugin}:Solver", plugin.with_suffix(".ran")
    (tmp_path / "config.yaml").write_text(json.dumps({"solver": {"name": name}}))
    (tmp_path / "run.json").write_text('{"source": {}}')
    (tmp_path / "history.jsonl").touch()
    with pytest.raises(SparksError, match="names the code"):
        go_on(tmp_path)
    assert not ran.exists()
    with pytest.raises(SparksError, match=r"cannot read|was"):
        go_on(tmp_path, named={"solver": {"name": name}})
    assert ran.exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("ssh-ed25519 only key")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").symlink_to(tmp_path / "key")
    with pytest.raises(SparksError, match="it is a link"):
        Journal(tmp_path / "run")
    (tmp_path / "run" / "history.jsonl").unlink()
    (tmp_path / "run" / "plan.json").write_text("{}")
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "key")
    with pytest.raises(SparksError, match="it is a link"), claim(tmp_path / "run"):
        pass
    assert (tmp_path / "key").read_text() == "ssh-ed25519 only key"


def test_a_report_replaces_no_page_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("title: blog")
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(SparksError, match="no run at"):
        report(tmp_path)
    (tmp_path / "run.json").write_text('{"source": {}}')
    with pytest.raises(SparksError, match="not a page of sparks"):
        report(tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"
    (tmp_path / "index.html").unlink()
    assert report(report(tmp_path).parent).is_file()
