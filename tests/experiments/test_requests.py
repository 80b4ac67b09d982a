"""What is asked of a comparison, before anything is run: presets, seeds, axes that compare."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparks.cli import app
from sparks.errors import SparksError
from sparks.experiments.ablate import plan_ablation, settings_of
from sparks.experiments.cells import load_plan
from sparks.experiments.tasks import task_list

FULL_SIZE = ("--model", "diffusers/LTX-2.3-Diffusers")


def rehearsed(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*arguments, "--dry-run", "--json"])
    assert done.exit_code == 0, done.exception
    content: dict[str, object] = json.loads(done.stdout)
    return content


@pytest.mark.parametrize("command", [["bench"], ["ablate", "modality"]])
def test_the_first_seed_is_named_and_the_others_are_counted_up_from_it(command: list[str]) -> None:
    assert rehearsed(*command, "--seed", "7", "--seeds", "3")["seeds"] == [7, 8, 9]
    assert rehearsed(*command, "--set", "seed=5")["seeds"] == [5]
    assert rehearsed(*command, "--seed", "7", "--set", "seed=5")["seeds"] == [7]
    assert rehearsed(*command)["seeds"] == [42]


@pytest.mark.parametrize("preset", ["paper", "reference", "reference-ppo", "distilled"])
def test_presets_of_full_size_models_run_over_tasks(preset: str) -> None:
    plan = rehearsed("bench", "--config", preset, *FULL_SIZE, "--tasks", "pocket25")
    assert (plan["cells"], plan["finished"]) == (25, 0)
    axis = ("modality", "--only", "text,audio")
    plan = rehearsed("ablate", *axis, "--config", preset, *FULL_SIZE)
    assert (plan["cells"], plan["settings"]) == (24, ["text", "audio"])


@pytest.mark.parametrize("command", [["bench"], ["ablate", "solvers"]])
def test_the_papers_preset_over_the_bundled_tasks_names_the_one_that_fits(
    command: list[str],
) -> None:
    with pytest.raises(SparksError, match=r"the preset of this model is pocket: --config pocket"):
        CliRunner().invoke(
            app, [*command, "--config", "paper", "--dry-run"], catch_exceptions=False
        )
    plan = rehearsed(*command, "--config", "paper", "--config", "pocket")
    assert plan["cells"] == 12 * len(plan["settings"])  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["video", "prompt", "static_prompt", "prefix_frames"])
def test_an_axis_of_what_tasks_decide_compares_nothing(key: str) -> None:
    overlays = {"a": {}, "b": {key: 9 if key == "prefix_frames" else "x"}}
    with pytest.raises(SparksError, match=f"b sets {key}, which each task decides; leave it out"):
        plan_ablation("", {}, overlays, task_list("pocket12")[:1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds no settings"),
        ("", "holds no settings"),
        ("{a: 3, b: {}}", "setting 'a' is no table"),
        ("[1]", "holds a list"),
    ],
)
def test_an_axis_without_settings_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "axis.yaml").write_text(text)
    with pytest.raises(SparksError, match=message):
        settings_of(str(tmp_path / "axis.yaml"))


def test_names_of_settings_may_be_numbers_or_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "axis.yaml").write_text("{0.1: {solver: {name: adam}}, 2: null, on: {seed: 3}}")
    overlays = settings_of(str(tmp_path / "axis.yaml"))
    assert list(overlays) == ["0.1", "2", "on"]
    plan = plan_ablation("", {}, overlays, task_list("pocket12")[:1])
    plan.save(tmp_path)
    assert load_plan(tmp_path) == plan


@pytest.mark.parametrize("command", ["bench", "solve"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("solver=adam", r"solver='adam' is no section; give its keys, as solver.name=\.\.\."),
        ("judge=qwen", r"judge='qwen' is no section; give its keys, as judge.name=\.\.\."),
        ("sampling=8", r"sampling=8 is no section; give its keys, as sampling.num_"),
        (
            "guidance.final=x",
            r"guidance.final='x' is no section; give its keys, as guidance.final.v",
        ),
    ],
)
def test_a_section_is_given_by_its_keys(command: str, given: str, told: str) -> None:
    with pytest.raises(SparksError, match=told):
        CliRunner().invoke(app, [command, "--set", given, "--dry-run"], catch_exceptions=False)
