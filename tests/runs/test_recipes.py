"""Edits carry what they are repeated from."""

import json
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from safetensors.torch import load_file, save_file

from sparks.cli import main
from sparks.editors.controls import controls_metadata, load_controls, save_controls
from sparks.errors import SparksError
from sparks.media.clip import write_clip
from sparks.models.fingerprint import fingerprints
from sparks.runs.recipes import read_recipe, repeat
from sparks.runs.transfer import transfer
from tests.editors.conftest import make_clip, write_model
from tests.workplace import CRITIC, Sparks


@pytest.fixture(scope="module")
def made(workplace: Path) -> Path:
    """A run of two evaluations."""
    asked = ("own.mp4", "--prompt", "a blue ball grows", "--config", "settings.yaml", *CRITIC)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        patch.setattr("sys.argv", ["sparks", "solve", *asked, "--output", "made"])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    return workplace / "made"


def history(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "cost"} for row in rows]


def test_videos_and_controls_say_how_they_were_made(made: Path) -> None:
    result = json.loads((made / "result.json").read_text())
    for name in ("edited.mp4", "baseline.mp4", "side_by_side.mp4", "best.safetensors"):
        recipe = read_recipe(made / name)
        assert (recipe["prompt"], recipe["model"], recipe["solver"]) == (
            *("a blue ball grows", "model", "adam"),
        )
        assert recipe["clip"] == {"frames": 17, "size": [16, 16], "fps": "25/2"}
        assert recipe["kept"]["prefix_frames"] == 5
        assert recipe["seeds"] == {"noise": 42, "search": 42, "windows": 42}
        assert recipe["scores"]["p_yes_best"] == result["p_yes_best"]
        assert recipe["scores"]["total"] == pytest.approx(sum(result["losses"].values()))
        assert recipe["fingerprint"] == fingerprints(made.parent / "model")
    assert controls_metadata(made / "best.safetensors")["prompt"] == "a blue ball grows"


def test_a_recipe_repeats_its_edit(sparks: Sparks, made: Path, tmp_path: Path) -> None:
    for name in ("edited.mp4", "best.safetensors"):
        code, _, err = sparks(
            *("solve", "--recipe", str(made / name), *CRITIC, "--output", str(tmp_path / name))
        )
        assert code == 0, err
        assert history(tmp_path / name) == history(made)
        assert (tmp_path / name / "config.yaml").read_text() == (made / "config.yaml").read_text()


def test_a_recipe_survives_another_container(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mkv"
    with av.open(str(made / "edited.mp4")) as source, av.open(str(copy), "w") as out:
        out.metadata["comment"] = source.metadata["comment"]
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    assert read_recipe(copy) == read_recipe(made / "edited.mp4")


def test_a_recipe_runs_no_code_and_changes_with_what_is_typed(
    sparks: Sparks, made: Path, tmp_path: Path
) -> None:
    video = str(made / "edited.mp4")
    code, _, err = sparks("solve", "--recipe", video, "--output", str(tmp_path / "run"))
    assert code == 2
    assert "names the code plugins.py:Redness" in err
    more = ("--budget", "renders=1", "--seed", "7", "--output", str(tmp_path / "run"))
    code, _, err = sparks("solve", "--recipe", video, *CRITIC, *more)
    assert code == 0, err
    assert len(history(tmp_path / "run")) == 1
    assert read_recipe(tmp_path / "run" / "edited.mp4")["seeds"]["search"] == 7


def test_a_source_that_is_gone_or_another_is_told(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    video = made / "edited.mp4"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SparksError, match=r"made from own\.mp4, which is not there"):
        repeat(video, None)
    write_clip(tmp_path / "own.mp4", make_clip(9))
    with pytest.raises(SparksError, match=r"own\.mp4 is not what .* was made from"):
        repeat(video, None)
    assert repeat(video, "own.mp4")["prompt"] == "a blue ball grows"
    assert "the edit will differ" in caplog.text
    caplog.clear()
    assert repeat(video, str(made.parent / "own.mp4"))
    assert not caplog.text


def test_what_carries_no_recipe_is_refused(tmp_path: Path) -> None:
    comments = (None, "a walk in the park", "[1]", "{}", '{"config": 3}', "[" * 9999)
    for number, comment in enumerate(comments):
        write_clip(tmp_path / f"{number}.mp4", make_clip(3), comment=comment)
        with pytest.raises(SparksError, match=f"{number}.mp4 carries no recipe"):
            read_recipe(tmp_path / f"{number}.mp4")
    with pytest.raises(SparksError, match="no video file at"):
        read_recipe(tmp_path / "gone.mp4")


@pytest.mark.parametrize("name", ["source", "clip", "kept", "seeds", "fingerprint"])
@pytest.mark.parametrize("value", [[1], "x", 3, False])
def test_a_recipe_that_no_run_wrote_is_refused(
    name: str, value: object, made: Path, tmp_path: Path
) -> None:
    controls, copy = made / "best.safetensors", tmp_path / "best.safetensors"
    metadata = controls_metadata(controls) | {name: json.dumps(value)}
    save_controls(copy, load_controls(controls), metadata)
    for use in (lambda: repeat(copy, None), lambda: transfer(copy, {}, tmp_path / "run")):
        with pytest.raises(SparksError, match=f"{name} in the recipe of .* which no run wrote"):
            use()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("video", [2, 1.5, ["own.mp4"], {"a": 1}, True])
def test_a_recipes_video_is_a_name(video: object, made: Path, tmp_path: Path) -> None:
    recipe = read_recipe(made / "edited.mp4")
    recipe["config"]["video"] = video
    write_clip(tmp_path / "edited.mp4", make_clip(3), comment=json.dumps(recipe))
    with pytest.raises(SparksError, match="as its video; name the source"):
        repeat(tmp_path / "edited.mp4", None)


def test_fingerprints_know_weights_and_tokenizers_apart(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    before = fingerprints(folder)
    assert fingerprints(write_model(tmp_path / "again")) == before
    (weights,) = (folder / "transformer").glob("*.safetensors")
    tensors = load_file(weights)
    save_file({name: value + 1e-3 for name, value in tensors.items()}, weights)
    after = fingerprints(folder)
    assert after["model"] != before["model"]
    assert after["text_encoder"] == before["text_encoder"]
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace("jumps", "leaps"))
    assert fingerprints(folder)["text_encoder"] != before["text_encoder"]


def test_fingerprints_of_large_files_read_little(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    path = tmp_path / "transformer" / "large.safetensors"
    save_file({"x": torch.zeros(4_000_000)}, path)
    before = fingerprints(tmp_path)["model"]
    save_file({"x": torch.full((4_000_000,), 1e-6)}, path)
    assert fingerprints(tmp_path)["model"] != before
