"""What examples/ promises: an installed package is found by its entry points alone."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples" / "sparks-example"
QUICK = ["--set", "sampling.num_inference_steps=2", "--set", "sampling.grad_steps=1"]


def run(*arguments: str, path: Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package has been installed."""
    pytest.importorskip("hatchling", reason="the package is built with hatchling")
    folder = tmp_path_factory.mktemp("site")
    pip = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run("-m", *pip, "--target", str(folder), str(PACKAGE), path=folder, folder=folder)
    return folder


def test_its_plugins_are_listed(site: Path, tmp_path: Path) -> None:
    found = json.loads(run("-m", "sparks.cli", "plugins", "--json", path=site, folder=tmp_path))
    ours = [plugin for plugin in found if plugin["version"] == "sparks-example 1.0"]
    assert [(each["kind"], each["name"], each["problem"]) for each in ours] == [
        ("solver", "hill-climb", None),
        ("critic", "motion", None),
    ]


def test_its_plugins_search(site: Path, tmp_path: Path) -> None:
    names = ["--critic", "motion", "--solver", "hill-climb", "--set", "solver.sigma=0.2"]
    command = ["solve", *names, *QUICK, "--budget", "qwen_calls=2", "--json"]
    result = json.loads(run("-m", "sparks.cli", *command, path=site, folder=tmp_path))
    assert (result["solver"], result["space"]) == ("hill-climb", "temporal")
    assert result["spent"]["qwen_calls"] == 2
    assert result["p_yes_best"] >= result["p_yes_baseline"]


def test_its_own_tests_pass(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    found = runpy.run_path(str(PACKAGE / "tests" / "test_plugins.py"))
    tests = [value for name, value in found.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
