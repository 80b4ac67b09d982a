"""`sparks attention` on a run of the real classes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparks.editors.controls import load_controls, save_controls
from sparks.errors import SparksError
from sparks.insight.drawing import captioned, laid_over, scale
from sparks.insight.heat import Heat, load_heat, over_frames, save_heat
from sparks.media.clip import read_clip
from tests.workplace import CRITIC, Sparks

CODE = ("--set", "critic.name=plugins.py:Redness")


@pytest.fixture
def run(sparks: Sparks, workplace: Path) -> Path:
    """A run, made once."""
    folder = workplace / "tuned"
    if not folder.exists():
        given = ("--prompt", "a red ball jumps", "--config", "settings.yaml", *CRITIC)
        code, _, err = sparks("solve", "own.mp4", *given, "--output", "tuned")
        assert code == 0, err
    return folder


def test_both_edits_are_shown_with_what_text_and_sound_do(
    sparks: Sparks, run: Path, tmp_path: Path
) -> None:
    place = tmp_path / "maps"
    by = "word,moment,block,step,head"
    code, out, err = sparks(
        "attention", "tuned", *CODE, "--by", by, "--output", str(place), "--json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["words"] == ["a", "red", "ball", "jumps"]
    assert set(result["shares"]) == {"baseline", "edited"}
    assert all(0 < share < 1 for share in result["shares"]["edited"])
    assert result == json.loads((place / "attention.json").read_text())
    pictures = {path.stem for path in place.glob("*.png")}
    kinds = {
        f"{kind}-by-{axis}" for kind in ("text", "sound") for axis in ("block", "step", "head")
    }
    assert pictures == {"attention", "by-word", "by-moment", *kinds}
    assert pictures == {path.stem for path in place.glob("*.mp4")}
    for name in pictures:
        assert np.asarray(Image.open(place / f"{name}.png")).std() > 10
    edited = read_clip(run / "edited.mp4")
    assert len(read_clip(place / "attention.mp4").frames) == len(edited.frames)
    baseline, tuned = (load_heat(place / f"{name}.safetensors") for name in result["shares"])
    assert not torch.equal(baseline.mean("sound"), tuned.mean("sound"))
    assert tuned.mean("text").shape == (5, 2, 2)
    torch.testing.assert_close(tuned.of_words(tuned.words), tuned.mean("text"))
    assert float(tuned.mean("sound").mean()) == pytest.approx(1, abs=1e-4)


def test_the_render_is_that_of_the_run(sparks: Sparks, run: Path, workplace: Path) -> None:
    from sparks.insight.attending import look
    from sparks.insight.finished import reopen

    finished = reopen(run, {"critic": {"name": "plugins.py:Redness"}})
    names = ("baseline", "edited")
    again = [look(finished, name).frames.flatten() for name in names]
    written = [read_clip(run / f"{name}.mp4").frames.flatten() for name in names]
    likeness = torch.corrcoef(torch.stack([*again, *written]))[:2, 2:]
    assert (likeness.diag() > likeness.fliplr().diag()).all()  # compressed noise is like little


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tuned", *CODE, "--of", "smell"), "text-writes"),
        (("tuned", *CODE, "--by", "hour"), "moment"),
        (("tuned", *CODE, "--words", "elephant"), "a, red, ball, jumps"),
        (("tuned",), "plugins.py:Redness"),
        (("nowhere",), "no finished run"),
    ],
)
def test_what_cannot_be_shown_is_told(
    sparks: Sparks, run: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = sparks("attention", *arguments)
    assert code == 2
    assert said in err.splitlines()[-1]
    assert not (run / "attention").exists()  # nothing was written


def test_maps_are_kept_and_others_refused(tmp_path: Path) -> None:
    heat = Heat(("a", "ball"), 9, {"words": torch.rand(2, 3, 2, 2)})
    save_heat(tmp_path / "maps.safetensors", heat)
    again = load_heat(tmp_path / "maps.safetensors")
    assert (again.words, again.frames) == (heat.words, heat.frames)
    assert torch.equal(again.maps["words"], heat.maps["words"])
    other = tmp_path / "other.safetensors"
    from sparks.editors.controls import Controls

    save_controls(other, Controls(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1)), {})
    assert load_controls(other).batch == 1
    for path in (other, tmp_path / "none.safetensors"):
        with pytest.raises(SparksError, match=path.name):
            load_heat(path)


def test_a_latent_frame_covers_its_frames_and_colours_run_over_all_maps() -> None:
    heat = torch.arange(3.0)[:, None, None].expand(3, 2, 2)
    spread = over_frames(heat, 9, 4, (4, 6))
    assert spread.shape == (9, 4, 6)
    assert spread[:, 0, 0].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    heads = Heat((), 9, {"sound/head": torch.rand(2, 3, 1, 1), "moments": torch.rand(20, 3, 1, 1)})
    assert list(heads.parts("head", "sound", 12.5)) == ["sound, head 0", "sound, head 1"]
    moments = heads.parts("moment", "", 12.5)
    assert len(moments) == 6
    assert next(iter(moments)) == "sound at 0.02 s"
    low, high = scale([heat, heat + 1])
    assert 0 <= low < high <= 3
    frames = torch.full((9, 3, 4, 6), 0.5)
    over = laid_over(frames, spread, (0.0, 2.0))
    assert over.shape == frames.shape
    assert over.min() >= 0
    assert over.max() <= 1
    assert over[-1].mean() > over[0].mean()  # bright where there is much
    assert captioned(frames, "text").shape[-2] > 4
