"""The benchmark of the command line at full size, on its smallest size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from full_size import GIB, check_memory, placed  # noqa: E402


def test_an_edit_is_killed_gone_on_with_and_transferred(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "benchmarks/full_size.py", "--size", "tiny", "--json"),
        *(
            "--evaluations",
            "4",
            "--places",
            str(tmp_path),
            "--set",
            "editor.levers.two_valued=true",
        ),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    written, killed, going_on, transferred = result["phases"]
    assert result["killed_after"] == 2
    assert len(killed["evaluations"]) + len(going_on["evaluations"]) <= 4
    assert result["evaluations"] == len(result["losses"]) == 4
    assert result["levers"]["two_valued"] is True
    assert "rendering at full guidance" in going_on["stages"]
    assert "rendering with and without the controls" in transferred["stages"]
    assert sum(each["seconds"] for each in (written, killed, going_on, transferred)) > 0
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_parts_go_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    room = {Path("disk"): 60 * GIB, Path("memory"): 30 * GIB}
    monkeypatch.setattr("full_size.disk_free", room.__getitem__)
    needs = {"small": 2 * GIB, "text": 24 * GIB, "denoiser": 38 * GIB, "critic": 16 * GIB}
    found = placed(needs, list(room))
    assert found == {
        "denoiser": Path("disk"),
        "text": Path("memory"),
        "critic": Path("disk"),
        "small": Path("disk"),
    }
    with pytest.raises(SystemExit, match=r"80\.0 GiB of disk are needed, .* free: disk: 60 GiB"):
        placed(needs, [Path("disk")])


def test_too_little_memory_is_said_beforehand(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    needs = dict.fromkeys(("text_encoder", "connectors", "transformer", "vae", "critic"), 2**50)
    with pytest.raises(SystemExit, match="too little memory; nothing was written"):
        check_memory(needs, torch.device("cpu"))
    assert "GiB of memory are free" in capsys.readouterr().out
