"""The command on the bundled model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sparks
from sparks.experiments.tasks import Task
from sparks.media.clip import read_clip
from sparks.pocket.tasks import default_task


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sparks.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; sys.argv = ['sparks', '--help']\n"
        "from sparks.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "solve" in out
    assert "pocket" in out
    assert "heavy: []" in out


def test_a_path_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    report = run("report", "x" * 300, folder=tmp_path)
    assert (report.returncode, report.stdout) == (2, "")
    assert "File name too long" in report.stderr
    assert len(report.stderr) < 400
    command = [sys.executable, "-c", "from sparks.cli import main; main()"]
    gone = ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh", *command]
    shell = subprocess.run(gone, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (shell.returncode, shell.stderr) == (
        2,
        "error: the current folder: No such file or directory; give another path\n",
    )


def test_public_names_resolve() -> None:
    assert all(getattr(sparks, name) for name in sparks.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = sparks.Nothing


def test_the_bundled_task_is_edited(tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = run("solve", "--budget", "qwen_calls=2", "--json", "--output", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["spent"]["qwen_calls"] == 2
    assert set(result["losses"]) == {"vlm", "latent_alpha", "latent_v", "lpips", "temporal"}
    edited = read_clip(output / "edited.mp4")
    assert edited.frames.shape == default_task().source.clip().frames.shape
    assert edited.waveform is not None


def test_a_video_of_ones_own_is_edited(tmp_path: Path) -> None:
    task = Task.of(default_task())
    video = task.write_source(tmp_path)
    done = run(
        *("solve", video.name, "--prompt", task.prompt, "--static-prompt", task.static_prompt),
        *("--budget", "renders=1", "--sound", "tuned", "--output", "run", "--seed", "7"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "its budget of renders was spent" in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["seed"] == 7
    assert result["p_yes_best"] == result["p_yes_baseline"]


def test_words_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    done = run("solve", "--prompt", "a purple elephant jumps", "--output", "run", folder=tmp_path)
    assert done.returncode == 2
    assert "elephant" in done.stderr
    assert "ball" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()
