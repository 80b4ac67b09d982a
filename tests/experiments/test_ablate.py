"""`sparks ablate` on a tiny model: matched budgets, restarts, processes, axes."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sparks import registry
from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.experiments.ablate import axes, parse_match, plan_ablation, settings_of
from sparks.experiments.bench import run_experiment
from sparks.experiments.cells import Cell, Plan, claim, load_plan
from sparks.experiments.curves import draw_curves
from sparks.experiments.executors.processes import Processes
from sparks.experiments.tasks import task_list
from sparks.experiments.work import CellWork
from sparks.search.executors import Here
from sparks.settings.construct import construct
from sparks.settings.schema import Config
from sparks.settings.yaml import read_settings
from tests.workplace import COST, CRITIC, Sparks


def ablate(axis: str, *more: str) -> tuple[str, ...]:
    return ("ablate", axis, "--tasks", "tasks.yaml", "--config", "settings.yaml", *CRITIC, *more)


SOLVERS = ("--solvers", "adam,plugins.py:Wander@random")


def test_solvers_run_on_what_the_first_one_spent(sparks: Sparks, workplace: Path) -> None:
    match = ("--match", "qwen_calls,wall_clock:1", "--seeds", "2")
    # Adam gives up early, so that what it spent differs from what it could have.
    early = ("--set", "solver={name: adam, lr: 1e-9, patience: 2}", "--budget", "qwen_calls=9")
    one = ("--tasks", "one.yaml", "--output", "matched")
    code, out, err = sparks(*ablate("solvers", *SOLVERS, *match, *early, *one))
    assert code == 0, err
    folder = workplace / "matched"
    rows = json.loads((folder / "table.json").read_text())["cells"]
    assert len(rows) == 2 + 2 + 1
    measured = {(row["task"], row["seed"]): row for row in rows if row["setting"] == "adam"}
    for row in rows:
        adam = measured[row["task"], row["seed"]]
        assert adam["qwen_calls"] < 9
        limits = Config.resolve(read_settings(folder / row["folder"] / "config.yaml")).budget
        if row["match"] == "qwen_calls":
            assert limits == f"qwen_calls={adam['qwen_calls']}"
            assert row["qwen_calls"] == adam["qwen_calls"]
        elif row["match"] == "wall_clock":
            seconds = pytest.approx(adam["wall_clock"], rel=1e-5)
            assert float(limits.removeprefix("wall_clock=").removesuffix("s")) == seconds
            assert row["seed"] == 42
        if row["match"]:
            assert (row["space"], row["dim"], row["denoiser_backwards"]) == ("random", 32, 0)
    assert "## At equal critic calls" in out
    timed = out[out.index("## At equal seconds") :]
    assert "| edits | 1 | 1 |" in timed
    assert out.count("| edits | 2 | 2 |") == 1
    for counter in ("qwen_calls", "wall_clock"):
        assert np.asarray(Image.open(folder / f"curve-{counter}.png")).std() > 10


def test_a_killed_ablation_finishes_without_doing_anything_twice(
    sparks: Sparks, workplace: Path
) -> None:
    (workplace / "mortal").touch()
    arguments = ablate("solvers", "--solvers", "adam,plugins.py:Dies", "--output", "killed")
    command = [sys.executable, "-m", "sparks.cli", *arguments]
    killed = subprocess.run(command, cwd=workplace, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = workplace / "killed"
    done = {path: path.stat().st_mtime_ns for path in folder.glob("cells/adam/*/*")}
    assert [path.parent.name for path in done if path.name == "row.json"] == ["00-jump-42"]
    assert not list(folder.glob("cells/plugins.py-Dies/*"))
    (begun,) = folder.glob("claims/plugins.py-Dies/*/1/history.jsonl")
    recorded = begun.read_bytes()
    code, _, err = sparks("ablate", "--output", "killed")
    assert code == 2
    assert "plan.json names the code plugins.py:" in err
    code, _, err = sparks(*arguments)
    assert code == 0, err
    assert "3/3" in err
    assert len(list(folder.glob("cells/*/*/row.json"))) == 4
    ended = folder / "cells" / begun.relative_to(folder / "claims").parent.parent / begun.name
    assert ended.read_bytes().startswith(recorded)  # it was gone on with
    assert not list(folder.glob("claims/*"))
    assert not list(folder.glob("workers/*"))
    assert done.items() <= {p: p.stat().st_mtime_ns for p in folder.glob("cells/*/*/*")}.items()


def test_another_process_does_the_same(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    settings = read_settings("settings.yaml")
    for name, executor in (("alone", Here()), ("apart", Processes(1))):
        overlays = settings_of("modality", ["text", "audio"])
        plan = plan_ablation("modes", settings, overlays, task_list("tasks.yaml")[1:])
        run_experiment(Path(name), plan, executor=executor)
    alone, apart = (
        [_timeless(row) for row in json.loads(Path(name, "table.json").read_text())["cells"]]
        for name in ("alone", "apart")
    )
    assert [row["setting"] for row in alone] == ["text", "audio"]
    for one, other in zip(alone, apart, strict=True):
        # Processes with other numbers of threads round differently in the last digits.
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, float):
                assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
            else:
                assert other[name] == value, name


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in COST}


def test_a_folder_takes_more_of_the_same(sparks: Sparks, workplace: Path) -> None:
    arguments = ablate("modality", "--output", "grown", "--budget", "qwen_calls=1")
    assert sparks(*arguments, "--only", "both,text")[0] == 0
    code, out, err = sparks(*arguments, "--only", "both,audio")
    assert code == 0, err
    assert "2/2" in err
    assert "| mean [95 % interval] | both | text | audio |" in out
    code, again, _ = sparks("ablate", "--output", "grown")
    assert (code, again) == (0, out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablate"], "say what to compare: solvers, modality"),
        (["ablate", "--output", "nothing"], "no plan.json in nothing"),
        (["ablate", "colour"], "no axis 'colour'; choose solvers, modality"),
        (["ablate", "modality", "--only", "smell"], "modality has no 'smell'; choose from both"),
        (["ablate", "solvers", "--match", "calls"], "cannot match 'calls'; write COUNTER"),
        (["ablate", "solvers", "--match", "renders:2"], "at most 1 seeds"),
        (["ablate", "solvers", "--solvers", "adam,adm"], "did you mean 'adam'"),
        (["ablate", "solvers", "--solvers", "adam@ful"], "did you mean 'full'"),
        (["ablate", "--seeds", "2", "--output", "nothing"], "say what to compare"),
    ],
)
def test_mistakes_are_one_line(
    sparks: Sparks, workplace: Path, arguments: list[str], message: str
) -> None:
    code, out, err = sparks(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (workplace / "nothing").exists()
    assert not (workplace / "runs").exists()


def test_every_setting_of_every_axis_can_be_run() -> None:
    start = Controls(torch.zeros(1, 2, 50, 16), torch.zeros(1, 16, 192))
    for axis in axes()[1:]:
        overlays = settings_of(axis)
        assert len(overlays) > 1
        configs = []
        for overlay in overlays.values():
            config = Config.resolve(overlay)
            space = registry.spaces.get(config.space.name)
            construct("space", space, config.space.options, start=start)
            assert config.critic.name in registry.critics.names()
            configs.append(config)
        assert all(configs[i] not in configs[:i] for i in range(len(configs)))
    assert list(settings_of("solvers")) == ["adam", "ppo", "cma", "random"]


def test_an_axis_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "speed.yaml").write_text("slow: {solver: {name: adam, lr: 1e-3}}\nfast: {}\n")
    overlays = settings_of(str(tmp_path / "speed.yaml"))
    assert overlays == {"slow": {"solver": {"name": "adam", "lr": 1e-3}}, "fast": {}}
    (tmp_path / "code.yaml").write_text("a: {critic: {name: 'x.py:X'}}\nb: {}\n")
    with pytest.raises(SparksError, match=r"code.yaml names the code x.py:X"):
        settings_of(str(tmp_path / "code.yaml"))
    assert settings_of(str(tmp_path / "code.yaml"), base={"critic": {"name": "x.py:X"}})


def test_another_space_keeps_what_all_spaces_understand() -> None:
    base = {"space": {"mode": "text", "audio_init": "zero"}, "solver": {"name": "adam", "lr": 0.5}}
    overlays = settings_of("solvers", ["adam", "adam@random", "cma"])
    plan = plan_ablation("", base, overlays, task_list("pocket12")[:1])
    plain, moved, cma = (cell.settings for cell in plan.cells)
    assert plain["space"] == base["space"]
    assert moved["space"] == {"mode": "text", "audio_init": "zero", "name": "random"}
    assert moved["solver"] == base["solver"]
    assert cma["solver"] == {"name": "cma"}


def test_matches_are_read_with_their_seeds() -> None:
    assert parse_match(None, 3) == {}
    assert parse_match("qwen_calls,wall_clock:1", 3) == {"qwen_calls": 3, "wall_clock": 1}
    with pytest.raises(SparksError, match="at most 3 seeds"):
        parse_match("qwen_calls:4", 3)


def test_plans_survive_the_disk_and_refuse_contradictions(tmp_path: Path) -> None:
    tasks = task_list("pocket25")[:2]
    plan = plan_ablation("t", {}, settings_of("solvers"), tasks, match={"renders": 1})
    plan.save(tmp_path)
    assert load_plan(tmp_path) == plan
    other = plan_ablation("t", {"seed": 42, "budget": "renders=2"}, {"adam": {}}, tasks)
    with pytest.raises(SparksError, match="holds cells/adam/00-jump-42 with other settings"):
        other.save(tmp_path)
    assert load_plan(tmp_path) == plan
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(SparksError, match="cannot be read"):
        load_plan(tmp_path)


def test_a_cell_without_its_reference_says_so(tmp_path: Path) -> None:
    task = task_list("pocket12")[0]
    first = Cell("adam", task.name, {"seed": 1, "model": "gone/gone"})
    cell = Cell("cma", task.name, {"seed": 1}, "qwen_calls", first.name)
    Plan("t", [task], [first, cell]).save(tmp_path)
    Here().run(CellWork(tmp_path, Path.cwd()))
    assert "gone/gone" in (tmp_path / first.name / "error.txt").read_text()
    assert "its reference" in (tmp_path / cell.name / "error.txt").read_text()


def test_curves_are_those_of_the_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: dict[str, list[tuple[list[float], list[float]]]] = {}
    plot = Axes.plot

    def spy(self: Axes, x: Any, y: Any, **more: Any) -> Any:
        drawn.setdefault(more["label"], []).append((list(x), list(y)))
        return plot(self, x, y, **more)

    monkeypatch.setattr(Axes, "plot", spy)
    for name, totals in {"a": [3.0, 5.0, 1.0], "b": [7.0, 3.0, 9.0]}.items():
        best = np.minimum.accumulate(totals)
        lines = [
            {
                **{"index": i, "seed": 1, "z_sha256": "", "losses": {"vlm": total}},
                "best": bool(total == best[i]),
                "total": total,
                "p_yes": 0.5,
                "cost": {"qwen_calls": i + 1, "wall_clock": 2.0 * (i + 1)},
            }
            for i, total in enumerate(totals)
        ]
        (tmp_path / name).mkdir()
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / name / "history.jsonl").write_text(text)
    rows = [{"task": name, "folder": name} for name in ("a", "b")]
    draw_curves(tmp_path / "curve.png", tmp_path, {"adam": rows})
    assert drawn["adam"][0] == ([1, 2, 3], [(3 + 7) / 2, (3 + 3) / 2, (1 + 3) / 2])
    assert drawn["adam"][2] == ([2, 4, 6], drawn["adam"][0][1])
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_a_folder_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    plan = Plan("nothing", [])
    plan.save(tmp_path / "busy")
    with claim(tmp_path / "busy") as first:
        assert first
        with claim(tmp_path / "busy") as second:
            assert not second
        with pytest.raises(SparksError, match="busy is in use by another process"):
            run_experiment(tmp_path / "busy", plan)
        assert run_experiment(tmp_path / "busy").startswith("## Means")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    for folder in (tmp_path / "other", tmp_path / "other" / "thesis.txt"):
        with pytest.raises(SparksError, match=r"other.*choose"):
            run_experiment(folder, plan)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_an_empty_plan_has_empty_tables(tmp_path: Path) -> None:
    assert run_experiment(tmp_path, Plan("nothing", [])).startswith("## Means")
