"""How the bundled model is trained: exact resuming, and every stage at a tiny scale."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from typer.testing import CliRunner

from sparks.errors import SparksError
from sparks.pocket import weights_path
from sparks.pocket.cli import app
from sparks.pocket.training import critic
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.training.stages import STAGES, Training, train

CPU = torch.device("cpu")
WRITES = {
    "video_vae": ("vae",),
    "audio_vae": ("audio_vae",),
    "text_encoder": ("tokenizer", "text_encoder"),
    "perceptual": ("perceptual",),
    "video_decoder": ("vae",),
    "denoiser": ("transformer", "connectors"),
    "edits": (),
    "critic": ("critic",),
    "clip": ("clip",),
    "xclip": ("xclip",),
    "judge": ("judge",),
}


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))


def regression(module: nn.Module, stop_at: int | None = None) -> Callable[[int], Tensor]:
    """A loss that draws its data from the step's number and may be cut off like a process."""

    def loss(step: int) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        inputs = torch.randn(32, 5, generator=generator(step, CPU))
        return (module(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    return loss


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparks.pocket.training.loop.SAVE_EVERY", 0.0)
    through, broken, resumed = network(), network(), network()
    fit("one", [through], regression(through), Course(tmp_path / "a", 40))
    with pytest.raises(KeyboardInterrupt):
        fit("one", [broken], regression(broken, 17), Course(tmp_path / "b", 40))
    fit("one", [resumed], regression(resumed), Course(tmp_path / "b", 40))
    for name, value in through.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
        assert not torch.equal(value, broken.state_dict()[name]), name


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first, again = network(), network()
    fit("one", [first], regression(first), Course(tmp_path, 5))
    fit("one", [again], regression(again, stop_at=5), Course(tmp_path, 5))
    assert all(map(torch.equal, first.state_dict().values(), again.state_dict().values()))


def test_training_lowers_the_loss_and_minutes_end_it(tmp_path: Path) -> None:
    module = network()
    before = regression(module)(1000).item()
    fit("one", [module], regression(module), Course(tmp_path, 200), learning_rate=3e-2)
    assert regression(module)(1000).item() < 0.3 * before
    fit("none", [module], regression(module, stop_at=0), Course(tmp_path, 9, minutes=1e-9))


def test_minutes_count_over_all_starts(tmp_path: Path) -> None:
    module = network()
    course = Course(tmp_path, 1_000_000, minutes=0.005)
    fit("one", [module], regression(module), course)
    fit("one", [module], lambda step: pytest.fail(f"step {step}"), course)


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    module = network()
    with pytest.raises(SparksError, match=r"odd: loss is nan at step 50; .*: .*odd\.state\.pt"):
        fit(
            "odd",
            [module],
            lambda step: module(torch.full((1, 5), torch.nan)).sum(),
            Course(tmp_path, 60),
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that one command has trained, hardly at all."""
    folder = tmp_path_factory.mktemp("pocket") / "model"
    options = ["--scale", "0.0003", "--batch", "0.02", "--clips", "4", "--device", "cpu"]
    done = CliRunner().invoke(app, ["train", "--output", str(folder), *options])
    assert done.exit_code == 0, done.exception
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_leaves_its_part(stage: str, trained: Path) -> None:
    assert (trained / "model_index.json").is_file()
    state = "scout" if stage == "edits" else stage
    assert (trained.with_name("model.work") / f"{state}.state.pt").is_file()
    for component in WRITES[stage]:
        files = {path.name for path in (trained / component).iterdir()}
        assert files >= {"tokenizer.json"} if component == "tokenizer" else files
        for weights in (trained / component).glob("*.safetensors"):
            assert all(value.isfinite().all() for value in load_file(weights).values())


def test_stages_that_do_not_exist_or_lack_their_input_are_refused(tmp_path: Path) -> None:
    training = Training(tmp_path / "model", tmp_path / "work", CPU)
    with pytest.raises(SparksError, match="stage 'vocoder' is unknown: choose from video_vae"):
        train(training, ["vocoder"])
    with pytest.raises(SparksError, match="vae is not trained yet: run its stage first"):
        train(training, ["denoiser"])


def test_a_critic_of_other_sizes_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(weights_path() / "critic", model / "critic")
    monkeypatch.setattr(critic, "GUIDE", replace(critic.GUIDE, layers=5))
    training = Training(model, tmp_path / "work", CPU, warm=True)
    with pytest.raises(SparksError, match=r"critic is .*layers=3.* now it is .*layers=5.*--warm"):
        train(training, ["edits", "critic"])
    assert not (model / "model_index.json").exists()
