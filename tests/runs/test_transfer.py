"""Controls of one run on other clips."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sparks.editors.controls import Controls, load_controls, save_controls
from sparks.errors import SparksError
from sparks.media.clip import read_clip, write_clip
from sparks.runs.gap import critic_scorer, draw_curves, frame_curves
from sparks.runs.recipes import read_recipe
from sparks.runs.transfer import fit_controls, transfer
from tests.editors.conftest import make_clip, write_model
from tests.toy import ToyEditor, conditioning
from tests.workplace import CRITIC, Sparks, make_workplace

ASKED = ("--prompt", "a red ball jumps", "--static-prompt", "a red ball stays")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_workplace(tmp_path_factory.mktemp("workplace"))
    write_clip(folder / "longer.mp4", make_clip(25))
    return folder


@pytest.fixture
def tuned(sparks: Sparks, workplace: Path) -> Path:
    """A run, made once."""
    run = workplace / "tuned"
    if not run.exists():
        config = ("--config", "settings.yaml", *CRITIC, "--set", "solver.lr=1")
        code, _, err = sparks("solve", "own.mp4", *ASKED, *config, "--output", "tuned")
        assert code == 0, err
    return run


def test_its_own_clip_gives_its_own_edit(sparks: Sparks, tuned: Path, tmp_path: Path) -> None:
    code, out, err = sparks(
        *("transfer", str(tuned), "--video", "own.mp4", *ASKED, *CRITIC),
        *("--output", str(tmp_path / "run"), "--json"),
    )
    assert code == 0, err
    result, before = json.loads(out), json.loads((tuned / "result.json").read_text())
    assert result["p_yes_transfer"] == pytest.approx(before["p_yes_edited"], rel=1e-4)
    assert result["stretched"] == 1
    for name in ("edited", "baseline"):
        again, frames = (read_clip(run / f"{name}.mp4").frames for run in (tmp_path / "run", tuned))
        # The videos are compressed, which makes more of a rounding error than it is.
        assert (again - frames).abs().mean() < 0.005
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result


def test_another_clip_gets_the_controls_stretched_to_its_length(
    sparks: Sparks, tuned: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, out, err = sparks(
        *("transfer", str(tuned / "best.safetensors"), "--video", "longer.mp4", *ASKED[:2]),
        *(*CRITIC, "--output", str(run)),
    )
    assert code == 0, err
    assert "with the controls" in out
    result = json.loads((run / "result.json").read_text())
    assert result["stretched"] == pytest.approx(25 / 17, rel=0.1)
    clips = {
        name: read_clip(run / f"{name}.mp4") for name in ("baseline", "edited", "side_by_side")
    }
    assert {len(clip.frames) for clip in clips.values()} == {25}
    assert (clips["edited"].frames - clips["baseline"].frames).abs().max() > 0.02
    assert np.asarray(Image.open(run / "gap.png")).std() > 5
    assert result["gap_transfer"] != result["gap_baseline"]
    curves = json.loads((run / "gap.json").read_text())
    assert len(curves["transfer"]["edit"]) == 25
    assert np.mean(curves["transfer"]["edit"]) == pytest.approx(result["similarity_edit_transfer"])
    with av.open(str(run / "edited.mp4")) as container:
        note = json.loads(container.metadata["comment"])
    assert note["transferred_from"] == read_recipe(tuned / "edited.mp4")
    assert note["source"]["name"] == "longer.mp4"


def test_another_model_or_text_encoder_is_refused(
    sparks: Sparks, tuned: Path, workplace: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    for part, told in (("vae", "another model"), ("text_encoder", "another text encoder")):
        model = write_model(tmp_path / part)
        (weights,) = (model / part).glob("*.safetensors")
        changed = {name: value * 1.01 for name, value in load_file(weights).items()}
        save_file(changed, weights, {"format": "pt"})
        code, _, err = sparks(
            *("transfer", str(tuned), "--video", "own.mp4", *ASKED, *CRITIC),
            *("--model", str(model), "--output", str(tmp_path / "run")),
        )
        assert code == 2
        assert told in err.splitlines()[-1]
        assert not (tmp_path / "run").exists()


def test_what_is_no_run_is_refused(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="cannot read controls"):
        transfer(tmp_path, {})
    bare = Controls(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3))
    save_controls(tmp_path / "best.safetensors", bare, {})
    with pytest.raises(SparksError, match="carries no recipe"):
        transfer(tmp_path, {})
    with pytest.raises(SparksError, match=r"names the code plugins\.py:Redness"):
        transfer(tuned, {"video": "own.mp4", "prompt": "it"})


def test_alpha_is_interpolated_in_time_and_nothing_else() -> None:
    given = ToyEditor().start(conditioning())
    like, text = given.alpha.shape, given.delta_v.shape
    ramp = torch.linspace(0, 1, 9)[None, None, :, None].expand(1, like[1], 9, like[3])
    fitted = fit_controls(Controls(ramp, torch.ones(text)), given)
    assert fitted.alpha.shape == like
    steps = fitted.alpha[0, 0, :, 0]
    assert torch.allclose(steps, torch.linspace(0.05, 0.95, 5), atol=1e-6)
    assert torch.equal(fitted.alpha[0, 0], fitted.alpha[0, 1])
    assert torch.equal(fitted.delta_v, torch.ones(text))
    same = Controls(torch.randn(like), torch.randn(text))
    assert torch.equal(fit_controls(same, given).alpha, same.alpha)


@pytest.mark.parametrize(("alpha", "text"), [((1, 3, 5, 3), (1, 4, 6)), ((1, 2, 5, 3), (1, 5, 6))])
def test_controls_of_other_widths_are_refused(
    alpha: tuple[int, ...], text: tuple[int, ...]
) -> None:
    with pytest.raises(SparksError, match=r"of the controls has shape"):
        fit_controls(
            Controls(torch.zeros(alpha), torch.zeros(text)), ToyEditor().start(conditioning())
        )


class Reader:
    """Frames are as near to a prompt as their first colour is to its length."""

    differentiable = True

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        assert indices is not None
        return frames[:, list(indices), 0].mean((1, 2, 3)) * len(prompt)


def test_similarities_are_of_the_frames_around_their_moment(tmp_path: Path) -> None:
    frames = torch.zeros(12, 3, 4, 4)
    frames[6:, 0] = 1
    alone = frame_curves(critic_scorer(Reader(), ["12345", "123"]), frames, 1)
    assert (alone.edit, alone.static) == ([0] * 6 + [5] * 6, [0] * 6 + [3] * 6)
    assert alone.gap == [0] * 6 + [2] * 6
    wide = frame_curves(critic_scorer(Reader(), ["12345", "123"]), frames, 3)
    assert wide.gap == pytest.approx([0] * 5 + [2 / 3, 4 / 3] + [2] * 5)
    bare = frame_curves(critic_scorer(Reader(), ["12345"]), frames, 99)
    assert (bare.static, bare.gap) == (None, [2.5] * 12)
    draw_curves(tmp_path / "gap.png", {"transfer": alone, "baseline": wide}, 12.5, "reader")
    assert np.asarray(Image.open(tmp_path / "gap.png")).std() > 5


def test_saved_controls_hold_what_the_best_render_used(tuned: Path) -> None:
    controls = load_controls(tuned / "best.safetensors")
    assert controls.delta_v.abs().max() > 0
