"""Whole edits on a tiny model of the real classes, with a critic of a few lines."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sparks.editors.controls import controls_metadata, load_controls
from sparks.media.clip import read_clip, write_clip
from sparks.pocket.perceptual import Trunk, save_trunk
from sparks.runs.cache import Cache
from sparks.runs.edit import edit
from sparks.runs.prepare import Prepared, prepare
from sparks.search.journal import Journal
from tests.editors.conftest import make_clip, write_model
from tests.workplace import REDNESS, Sparks

CRITIC = "critic.py:Redness"
KEYS = {
    "run_dir",
    "solver",
    "space",
    "seed",
    "p_yes_baseline",
    "p_yes_best",
    "p_yes_edited",
    "p_yes_judge_baseline",
    "p_yes_judge_edited",
    "losses",
    "spent",
    "skipped",
    "stopped_by",
}
SPENT = ["qwen_calls", "renders", "denoiser_forwards", "denoiser_backwards", "wall_clock"]
FILES = {
    "config.yaml",
    "run.json",
    "history.jsonl",
    "best.safetensors",
    "source.mp4",
    "baseline.mp4",
    "edited.mp4",
    "side_by_side.mp4",
    "contact_sheet.png",
    "curve.png",
    "result.json",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    write_model(folder / "model")
    save_trunk(Trunk(), folder / "model" / "perceptual")
    (folder / "critic.py").write_text(REDNESS)
    (folder / "model" / "sparks.yaml").write_text(
        "sampling: {num_inference_steps: 3, grad_steps: 2}\n"
        "guidance: {final: {video: {guidance_scale: 2.0}, stg_blocks: []}}\n"
        "objective: {weights: {lpips: 0, temporal: 0}}\n"
        "solver: {name: adam, lr: 0.2}\n"
    )
    write_clip(folder / "source.mp4", make_clip(19, size=35))
    write_clip(folder / "silent.mp4", make_clip(17, sound=False))
    write_clip(folder / "short.mp4", make_clip(3))
    write_clip(folder / "small.mp4", make_clip(9, size=6))
    (folder / "zero.mp4").touch()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = np.zeros((1, 4096), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def options(output: Path, *more: str, video: str = "source.mp4") -> list[str]:
    given = ["solve", video, "--prompt", "red ball jumps", "--model", "model"]
    given += ["--critic", CRITIC, "--budget", "qwen_calls=6", "--json"]
    return [*given, "--output", str(output), *more]


def test_an_edit_leaves_a_whole_run(sparks: Sparks, tmp_path: Path) -> None:
    code, out, err = sparks(*options(tmp_path / "run", "--set", "device=cpu"))
    assert code == 0, err
    result = json.loads(out)
    assert set(result) == KEYS
    assert list(result["spent"]) == SPENT
    assert result["spent"]["qwen_calls"] == result["spent"]["renders"] == 6
    assert result["spent"]["denoiser_forwards"] == 18
    assert result["spent"]["denoiser_backwards"] == 12
    assert result["stopped_by"] == "qwen_calls"
    assert result["p_yes_best"] > result["p_yes_baseline"]
    assert (result["solver"], result["space"], result["seed"]) == ("adam", "full", 42)
    run = Path(result["run_dir"])
    assert {path.name for path in run.iterdir()} == FILES
    assert json.loads((run / "result.json").read_text()) == result
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["sampling"]["num_inference_steps"] == 3
    assert config["critic"]["name"] == "critic.py:Redness"
    facts = json.loads((run / "run.json").read_text())
    assert facts["seeds"] == {"noise": 42, "search": 42, "windows": 42}
    _check_history(run, result)
    _check_media(run)


def test_a_judge_is_asked_outside_the_budget(sparks: Sparks, tmp_path: Path) -> None:
    code, out, err = sparks(*options(tmp_path / "plain"))
    assert code == 0, err
    plain = json.loads(out)
    assert plain["p_yes_judge_baseline"] is plain["p_yes_judge_edited"] is None
    judge = ["--set", "judge={name: critic.py:Redness, sharpness: -40}"]
    code, out, err = sparks(*options(tmp_path / "judged", *judge))
    assert code == 0, err
    judged = json.loads(out)
    assert judged["p_yes_judge_edited"] == pytest.approx(1 - judged["p_yes_edited"], abs=1e-5)
    assert judged["p_yes_judge_baseline"] > judged["p_yes_judge_edited"]
    assert judged["spent"]["qwen_calls"] == plain["spent"]["qwen_calls"] == 6
    assert judged["p_yes_best"] == plain["p_yes_best"]


def test_edits_in_a_row_share_what_they_load_and_nothing_else(
    sparks: Sparks, tmp_path: Path
) -> None:
    cache = Cache()
    critic = {"name": "critic.py:Redness"}
    base = {"video": "source.mp4", "prompt": "red ball jumps", "model": "model", "critic": critic}
    base["objective"] = {"weights": {"lpips": 0.1, "temporal": 0.1}}

    def run(name: str, cache: Cache | None, **more: Any) -> tuple[list[Any], Prepared]:
        settings = {**base, "budget": "qwen_calls=2", **more}
        edit(settings, tmp_path / name, cache=cache, pictures=False)
        lines = (tmp_path / name / "history.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [row | {"cost": None} for row in rows], prepare(settings, cache=cache)

    alone, _ = run("alone", None)
    first, one = run("first", cache)
    again, two = run("again", cache)
    assert alone == first == again
    assert (tmp_path / "first/edited.mp4").read_bytes() == (
        tmp_path / "again/edited.mp4"
    ).read_bytes()
    assert two.problem.editor is one.problem.editor
    assert two.problem.critic is one.problem.critic
    assert two.problem.conditioning is one.problem.conditioning
    assert two.problem.objective.distance is one.problem.objective.distance
    assert two.problem.meter is not one.problem.meter

    other, three = run("other", cache, seed=7)
    assert other == run("other alone", None, seed=7)[0] != again
    assert three.problem.editor is one.problem.editor
    assert three.problem.conditioning is not one.problem.conditioning
    sharper, four = run("sharper", cache, critic=critic | {"sharpness": 3})
    assert sharper[0]["p_yes"] != again[0]["p_yes"]
    assert four.problem.critic is not one.problem.critic
    weights = Path("model/transformer/diffusion_pytorch_model.safetensors")
    os.utime(weights, ns=(0, 0))
    assert run("touched", cache)[1].problem.editor is not one.problem.editor


@pytest.mark.parametrize("grad_steps", [1, 3])
def test_equal_edits_in_a_row_are_equal_whatever_is_remembered(
    sparks: Sparks, tmp_path: Path, grad_steps: int
) -> None:
    cache = Cache()
    settings = {
        "video": "source.mp4",
        "prompt": "red ball jumps",
        "model": "model",
        "critic": {"name": "critic.py:Redness"},
        "sampling": {"refresh_prefix": 3, "grad_steps": grad_steps},
        "budget": "qwen_calls=5",
    }

    def totals(name: str, cache: Cache | None) -> list[float]:
        edit(settings, tmp_path / name, cache=cache, pictures=False)
        lines = (tmp_path / name / "history.jsonl").read_text().splitlines()
        return [json.loads(line)["total"] for line in lines]

    alone = totals("alone", None)
    assert totals("first", cache) == totals("second", cache) == alone
    one, other = (prepare(settings, cache=cache).problem for _ in range(2))
    z = torch.zeros(1, one.dim)
    turns = [
        task.evaluate(z + by, gradient=True)[0].total for by in (0, 0.1) for task in (one, other)
    ]
    assert turns[0] == turns[1]
    assert turns[2] == turns[3]


def test_the_latent_terms_can_be_measured_from_where_the_search_starts(
    sparks: Sparks, tmp_path: Path
) -> None:
    totals = {}
    for anchor in ("source", "init"):
        more = ["--set", "space.audio_init=zero", "--set", f"objective.anchor={anchor}"]
        code, _, err = sparks(*options(tmp_path / anchor, *more))
        assert code == 0, err
        first = (tmp_path / anchor / "history.jsonl").read_text().splitlines()[0]
        totals[anchor] = json.loads(first)["losses"]["latent_alpha"]
    assert totals["init"] == 0 < totals["source"]


def _check_history(run: Path, result: dict[str, Any]) -> None:
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(6))
    keys = {"index", "seed", "z_sha256", "losses", "total", "p_yes", "best", "cost"}
    assert all(set(row) == keys for row in rows)
    best = [row for row in rows if row["best"]][-1]
    assert best["total"] == min(row["total"] for row in rows)
    assert (best["losses"], best["p_yes"]) == (result["losses"], result["p_yes_best"])
    assert rows[0]["p_yes"] == result["p_yes_baseline"]


def _check_media(run: Path) -> None:
    for name in ("baseline", "edited", "side_by_side"):
        clip = read_clip(run / f"{name}.mp4")
        assert len(clip.frames) == 17
        assert clip.waveform is not None
        assert clip.waveform.abs().max() > 0.1
    with av.open(str(run / "edited.mp4")) as container:
        recipe = json.loads(container.metadata["comment"])
    assert recipe["prompt"] == "red ball jumps"
    controls = load_controls(run / "best.safetensors")
    assert controls.batch == 1
    assert controls_metadata(run / "best.safetensors")["solver"] == "adam"
    assert np.asarray(Image.open(run / "contact_sheet.png")).std() > 10
    assert np.asarray(Image.open(run / "curve.png")).std() > 10


def test_same_settings_same_history_and_the_written_config_repeats_it(
    sparks: Sparks, tmp_path: Path
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    assert sparks(*options(first))[0] == 0
    code, _, err = sparks(
        *("solve", "--config", str(first / "config.yaml"), "--output", str(again), "--json"),
        *("--critic", "critic.py:Redness"),
    )
    assert code == 0, err

    def history(run: Path) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key != "cost"} for row in rows]

    assert history(first) == history(again)
    assert (first / "config.yaml").read_text() == (again / "config.yaml").read_text()


@pytest.mark.parametrize(
    "more",
    [
        ["--sound", "tuned", "--window", "0.4:1.0"],
        ["--sound", "none", "--prefix-frames", "0", "--set", "space.mode=audio"],
        ["--set", "critic.windows=3", "--set", "space.mode=text", "--set", "critic.num_frames=4"],
    ],
)
def test_options_reach_the_edit(sparks: Sparks, tmp_path: Path, more: list[str]) -> None:
    code, out, err = sparks(*options(tmp_path / "run", *more))
    assert code == 0, err
    edited = read_clip(tmp_path / "run" / "edited.mp4")
    assert (edited.waveform is None) == ("none" in more)
    windows = 3 if "critic.windows=3" in more else 1
    assert json.loads(out)["spent"]["renders"] == 6 // windows


def test_a_silent_source_gets_imagined_sound_to_tune(sparks: Sparks, tmp_path: Path) -> None:
    code, _, err = sparks(
        *options(tmp_path / "run", "--sound", "tuned", video="silent.mp4"),
    )
    assert code == 0, err
    assert load_controls(tmp_path / "run" / "best.safetensors").alpha.std() > 0.1
    assert read_clip(tmp_path / "run" / "edited.mp4").waveform is not None
    assert read_clip(tmp_path / "run" / "baseline.mp4").waveform is None


def test_without_json_there_is_a_summary_and_lines_of_progress(
    sparks: Sparks, tmp_path: Path
) -> None:
    given = [word for word in options(tmp_path / "run") if word != "--json"]
    code, out, err = sparks(*given)
    assert code == 0
    assert out.startswith("The critic says ")
    assert "its budget of qwen_calls was spent" in out
    assert str(tmp_path / "run") in out
    assert "evaluation 6/6" in err
    assert "vlm" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "critic.sharp=3"], "unknown setting 'critic.sharp'; did you mean 'sharpness'"),
        (["--set", "solver.lrr=3"], "unknown setting 'solver.lrr'; did you mean 'lr'"),
        (["--set", "sampling.grad_step=3"], "did you mean 'grad_steps'"),
        (["--solver", "adm"], "adam"),
        (["--critic", "gone.py:Redness"], "gone.py"),
        (["--model", "critic.py"], "critic.py"),
        (["--prefix-frames", "99"], "prefix_frames is 99"),
        (["--window", "7:8"], "window 7.0:8.0 holds no frame"),
        (["--window", "1"], "START:END"),
        (["--window", "0:1", "--prefix-frames", "3"], "not both"),
        (["--budget", "qwen_calls=many"], "qwen_calls='many'"),
        (["--sound", "loud"], "sound='loud'"),
        (["--prompt", "purple elephant"], "'elephant'"),
        (["--set", "clip.size=[30, 32]"], "multiples of 8"),
        (["--set", "space.mode=all"], "space.mode='all' is not usable"),
        (["--set", "seed"], "key=value"),
        (["--set", "solver.lr=fast"], "solver.lr='fast'"),
        (["--set", "solver.lr=-1"], "lr is -1.0"),
        (["--set", "solver.patience=0"], "patience is 0"),
        (["--set", "objective.weights.vlm=nan"], "vlm is nan"),
        (["--set", "device=tpu"], "device 'tpu'"),
        (["--set", "dtype=int8"], "dtype is 'int8'"),
        (["--set", "space.name=ful"], "did you mean 'full'"),
        (["--set", "clip.fps=0"], "clip.fps=0"),
        (["--set", "objective.size=[0, 0]"], "objective.size"),
        (["--set", "solver.eps=-1"], "eps is -1.0"),
        (["--set", "solver.betas=[-1, 2]"], "betas are (-1.0, 2.0)"),
        (["--set", "device=meta"], "device 'meta'"),
        (["--set", "editor.text_device=x"], "device 'x'"),
        (["--set", "solver=adam"], "give its keys, as solver.name=..."),
        (["--model", "m" * 300], "no model at"),
        (["--prompt", "red ball jumps \udcff"], "is not UTF-8; type it anew"),
        (["--set", f"sound={'x' * 9999}"], "sound='xxx"),
        (["--critic", "nobody"], "no critic model at 'nobody'"),
        (["--model", "nowhere"], "no model at 'nowhere'"),
        (["--config", "papre"], "paper"),
        (["--budget", "seconds=3"], "'seconds' is unknown"),
        (["--budget", "wall_clock=0s"], "a positive time"),
        (["--prefix-frames", "-1"], "prefix_frames=-1 is not usable"),
        (["--window", "1:0.5"], "window=[1.0, 0.5] is no START, END"),
        (["--window", "nan:1"], "window=[nan, 1.0] is no START, END"),
        (["--seed", "x"], "--seed"),
        (["--seed", "-1"], "seed=-1"),
        (["--seed", str(2**63)], "seed="),
        (["--sed", "3"], "No such option"),
        (["another.mp4"], "another.mp4"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    sparks: Sparks, tmp_path: Path, more: list[str], message: str
) -> None:
    code, out, err = sparks(*options(tmp_path / "run", *more))
    assert code == 2
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert len(last) < 2000
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ("gone.mp4", "no video file at gone.mp4"),
        ("critic.py", "cannot decode critic.py"),
        ("short.mp4", "at least 5"),
        ("zero.mp4", "cannot decode zero.mp4"),
        ("sound.mp4", "sound.mp4 has no video stream"),
        ("small.mp4", "multiples of 8"),
    ],
)
def test_bad_videos_are_refused(sparks: Sparks, tmp_path: Path, video: str, message: str) -> None:
    code, out, err = sparks(*options(tmp_path / "run", video=video))
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "run").exists()


def test_clips_are_brought_to_the_rate_asked_for(sparks: Sparks, tmp_path: Path) -> None:
    more = ["--set", "clip.fps=6.25", "--set", "clip.num_frames=9"]
    code, _, err = sparks(*options(tmp_path / "run", *more))
    assert code == 0, err
    source, edited = read_clip("source.mp4"), read_clip(tmp_path / "run" / "edited.mp4")
    assert float(edited.fps) == float(source.fps) / 2 == 6.25
    assert len(edited.frames) == 9
    assert edited.waveform is not None
    assert abs(edited.waveform.shape[1] / edited.sample_rate - edited.duration) < 0.1


def test_libraries_stay_quiet(sparks: Sparks, tmp_path: Path) -> None:
    code, _, err = sparks(*options(tmp_path / "run", "--budget", "renders=1"))
    assert code == 0
    strange = [line for line in err.splitlines() if not re.match(r" *\d+\.\ds  [a-z]", line)]
    assert strange == []


def test_a_bare_command_shows_its_help(sparks: Sparks) -> None:
    for command in ((), ("pocket",)):
        code, out, err = sparks(*command)
        assert code == 2
        assert "Usage" in out + err
        assert "error" not in err


def test_output_must_be_new_or_empty(sparks: Sparks, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    for output in (tmp_path / "full", tmp_path / "full" / "note", tmp_path / "full" / "note" / "x"):
        code, _, err = sparks(*options(output))
        assert code == 2
        assert str(output) in err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note"]


STOPPER = """
import os
import signal

from sparks.registry import critics

Redness = critics.get("critic.py:Redness")


class Stopper(Redness):
    \"\"\"Interrupts the process at its second question.\"\"\"

    asked = 0

    def __init__(self, sharpness: float = 40.0, signals: int = 1) -> None:
        super().__init__(sharpness)
        self.signals = signals

    def log_odds(self, *arguments, **options):
        self.asked += 1
        for _ in range(self.signals if self.asked == 2 else 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().log_odds(*arguments, **options)
"""


def test_an_interrupted_edit_is_whole_and_goes_on(
    sparks: Sparks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stopper.py").write_text(STOPPER)
    run, critic = tmp_path / "run", f"{tmp_path / 'stopper.py'}:Stopper"
    code, out, err = sparks(*options(run, "--critic", critic))
    assert code == 130, err
    assert "stopping: the running evaluation is finished" in caplog.text
    result = json.loads(out)
    assert (result["stopped_by"], result["spent"]["renders"]) == ("interrupt", 2)
    assert {path.name for path in run.iterdir()} >= FILES | {"state.safetensors"}
    for _ in range(2):
        before = (run / "history.jsonl").read_bytes()
        code, out, err = sparks("solve", "--resume", str(run), "--critic", critic, "--json")
        assert (run / "history.jsonl").read_bytes().startswith(before)
        assert len(re.findall(r"s  evaluation \d+/6", err)) == 2
    assert code == 0
    assert json.loads(out)["stopped_by"] == "qwen_calls"
    assert {path.name for path in run.iterdir()} == FILES
    _check_history(run, json.loads(out))
    assert sparks(*options(tmp_path / "whole"))[0] == 0

    def history(folder: Path) -> list[dict[str, Any]]:
        lines = (folder / "history.jsonl").read_text().splitlines()
        return [json.loads(line) | {"cost": None} for line in lines]

    assert history(run) == history(tmp_path / "whole")
    assert load_controls(run / "best.safetensors").alpha.equal(
        load_controls(tmp_path / "whole" / "best.safetensors").alpha
    )
    files = {path: path.read_bytes() for path in run.iterdir()}
    code, again, err = sparks("solve", "--resume", str(run), "--json")
    assert (code, json.loads(again)) == (0, json.loads(out))
    assert "is finished; there is nothing left to do" in caplog.text
    assert files == {path: path.read_bytes() for path in run.iterdir()}


def test_the_second_interruption_stops_at_once_and_says_how_to_go_on(
    sparks: Sparks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stopper.py").write_text(STOPPER)
    critic = ["--critic", f"{tmp_path / 'stopper.py'}:Stopper", "--set", "critic.signals=2"]
    code, out, _ = sparks(*options(tmp_path / "run", *critic))
    assert (code, out) == (130, "")
    assert f"1 evaluations are kept; go on with: sparks solve --resume {tmp_path}" in caplog.text
    assert not (tmp_path / "run" / "result.json").exists()
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 1


def test_what_cannot_go_on_is_refused_in_a_line(
    sparks: Sparks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def refused(*more: str) -> str:
        code, out, err = sparks("solve", "--resume", str(run), "--critic", CRITIC, *more)
        assert (code, out) == (2, "")
        return err.splitlines()[-1]

    assert "no run at" in refused()
    shutil.copy("source.mp4", "changing.mp4")
    assert sparks(*options(run, video="changing.mp4"))[0] == 0
    (run / "result.json").unlink()
    assert "give --resume alone" in refused("--budget", "renders=9")
    assert "give --resume without --output" in refused("--output", "elsewhere")
    journal = Journal(run)
    assert "is in use by another process" in refused()
    journal.close()
    shutil.copy("short.mp4", "changing.mp4")
    assert "at least 5" in refused()
    write_clip("changing.mp4", make_clip(17, size=35))
    assert re.search("source of run .* was .*; bring it back, or start a new run", refused())
    shutil.copy("source.mp4", "changing.mp4")
    text = (run / "config.yaml").read_text()
    for ours, theirs in (("lr: 0.2", "lr: 0.3"), ("grad_steps: 2", "grad_steps: 1")):
        assert ours in text
        (run / "config.yaml").write_text(text.replace(ours, theirs))
        assert "changed since the run began" in refused()
    (run / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)  # paths in config.yaml are those of where the run was started
    code, _, err = sparks("solve", "--resume", "run", "--critic", CRITIC)
    assert code == 0, err
    assert "evaluation " not in err
    (run / "result.json").unlink()
    lines = (run / "history.jsonl").read_text().splitlines()
    (run / "history.jsonl").write_text("\n".join(["{}", *lines[1:]]) + "\n")
    assert "row 1 of" in refused()
    (run / "run.json").write_text("{")
    assert "no run at" in refused()
