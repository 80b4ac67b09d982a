"""Critics, judge and objective, built from settings."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.pocket.perceptual import Trunk, save_trunk
from sparks.runs.cache import Cache
from sparks.runs.judging import build_critic, build_judge, build_objective, perceptual_distance
from sparks.settings.schema import Config
from sparks.spaces.base import FullSpace
from tests import toy

PLUGIN = '''
import torch


class Weighed:
    """Remembers what it is given; says what it is told to."""

    differentiable = True
    bundled = "{part}"

    def __init__(self, model, device, dtype, fps, num_frames, sampling, build, says=0.0):
        self.given = {"model": model, "dtype": dtype, "fps": fps, "num_frames": num_frames}
        self.given |= {"device": device, "sampling": sampling}
        self.build, self.says, self.seen = build, says, []

    def log_odds(self, frames, prompt, indices=None):
        self.seen.append((prompt, list(indices)))
        return torch.full((len(frames),), float(self.says))


class Light:
    """Needs nothing."""

    differentiable = True

    def __init__(self, says=0.0):
        self.says = says

    def log_odds(self, frames, prompt, indices=None):
        return torch.full((len(frames),), float(self.says))


class Heeding(Light):
    """Looks at what the source shows."""

    def __init__(self, static_prompt=None):
        super().__init__()
        self.static_prompt = static_prompt
'''
CONDITIONING = toy.conditioning()
START = toy.ToyEditor().start(CONDITIONING)


@pytest.fixture
def name(tmp_path: Path) -> str:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return f"{tmp_path}/plugin.py:"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's, with weights of its own for both."""
    for part in ("critic", "judge"):
        (tmp_path / "model" / part).mkdir(parents=True)
        (tmp_path / "model" / part / "weights").touch()
    return tmp_path / "model"


def critic(
    settings: dict[str, Any], folder: Path | None, cache: Cache | None = None, **more: Any
) -> Any:
    config = Config.resolve({"critic": settings, **more})
    return build_critic("critic", config.critic, config, CONDITIONING, folder, cache or Cache())


def test_a_critic_is_given_the_models_own_weights_and_how_it_is_shown_a_video(
    name: str, folder: Path, tmp_path: Path
) -> None:
    plain = critic({"name": f"{name}Weighed", "says": 2}, folder)
    assert plain.given == {
        "model": str(folder / "critic"),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "fps": 12.5,
        "num_frames": 8,
        "sampling": "linspace",
    }
    assert plain.says == 2
    shown = {"num_frames": 3, "sampling": "normal", "dtype": "bfloat16", "model": str(tmp_path)}
    other = critic({"name": f"{name}Weighed", **shown}, folder).given
    assert other["model"] == str(tmp_path)
    assert (other["num_frames"], other["sampling"]) == (3, "normal")
    assert other["dtype"] is torch.bfloat16


def test_a_critic_without_weights_is_refused_unless_it_needs_none(
    name: str, tmp_path: Path
) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(SparksError, match=r"model 'pocket' brings no weights in critic/ for"):
            critic({"name": f"{name}Weighed"}, folder)
        assert critic({"name": f"{name}Light", "says": 1}, folder).says == 1
    with pytest.raises(SparksError, match=r"critic\.loudness"):
        critic({"name": f"{name}Light", "loudness": 1}, None)


def test_a_critic_is_kept_until_something_it_heeds_changes(name: str, folder: Path) -> None:
    cache = Cache()
    light = critic({"name": f"{name}Light"}, folder, cache, static_prompt="a")
    assert critic({"name": f"{name}Light"}, folder, cache, static_prompt="b") is light
    assert critic({"name": f"{name}Light", "says": 1}, folder, cache) is not light
    heeding = critic({"name": f"{name}Heeding"}, folder, cache, static_prompt="a")
    assert critic({"name": f"{name}Heeding"}, folder, cache, static_prompt="a") is heeding
    other = critic({"name": f"{name}Heeding"}, folder, cache, static_prompt="b")
    assert (heeding.static_prompt, other.static_prompt) == ("a", "b")
    weighed = critic({"name": f"{name}Weighed"}, folder, cache)
    (folder / "critic" / "weights").write_text("new")
    assert critic({"name": f"{name}Weighed"}, folder, cache) is not weighed


def test_a_critic_may_have_others_built_which_are_shown_the_same(name: str, folder: Path) -> None:
    outer = critic({"name": f"{name}Weighed", "num_frames": 5}, folder)
    inner = outer.build({"name": f"{name}Weighed", "says": 4})
    assert (inner.given["num_frames"], inner.says) == (5, 4)
    assert outer.build({"name": f"{name}Weighed", "num_frames": 2}).given["num_frames"] == 2


def test_the_judge_answers_over_all_its_windows(name: str, folder: Path) -> None:
    asked = {"critic": {"num_frames": 4, "windows": 3}, "judge": {"name": f"{name}Weighed"}}
    config = Config.resolve(asked)
    judge = build_judge(config, CONDITIONING, folder, Cache())
    assert judge is not None
    watching: Any = judge.critic
    assert watching.given["model"] == str(folder / "judge")
    watching.says = math.log(3)
    assert judge(torch.zeros(9, 3, 4, 4)) == pytest.approx(0.75)
    assert [prompt for prompt, _ in watching.seen] == ["it glows"] * 3
    assert all(len(indices) == 4 for _, indices in watching.seen)
    assert watching.seen[0][1] == [0, 3, 5, 8]


def test_there_is_no_judge_unless_one_is_named_or_in_the_models_folder(
    name: str, folder: Path
) -> None:
    config = Config.resolve({"critic": {"name": f"{name}Light"}})
    assert build_judge(config, CONDITIONING, None, Cache()) is None
    (folder / "judge" / "weights").unlink()
    (folder / "judge").rmdir()
    assert build_judge(config, CONDITIONING, folder, Cache()) is None


def objective(folder: Path | None, cache: Cache, **options: Any) -> Any:
    config = Config.resolve({"objective": options})
    space = FullSpace(START, mode="audio", audio_init="zero")
    return build_objective(config, START, space, folder, cache)


LIGHT = {"lpips": 0, "temporal": 0}


def test_the_objective_is_what_the_settings_say() -> None:
    cache = Cache()
    built = objective(None, cache, weights={**LIGHT, "latent_alpha": 3}, reduction="sum")
    assert built.distance is None
    moved = Controls(START.alpha + 1, START.delta_v)
    assert built.latent(moved)["latent_alpha"].item() == pytest.approx(3 * START.alpha.numel())
    init = objective(None, cache, weights={**LIGHT, "latent_alpha": 1}, anchor="init")
    zeros = Controls(torch.zeros_like(START.alpha), START.delta_v)
    assert init.latent(zeros)["latent_alpha"].item() == 0
    source = objective(None, cache, weights={**LIGHT, "latent_alpha": 1})
    expected = START.alpha.square().mean().item()
    assert source.latent(zeros)["latent_alpha"].item() == pytest.approx(expected)


def test_the_perceptual_distance_is_the_models_own_and_loaded_once(folder: Path) -> None:
    save_trunk(Trunk(), folder / "perceptual")
    cache = Cache()
    first, again = (objective(folder, cache, weights={"lpips": 1}) for _ in range(2))
    assert first.distance is again.distance
    frames = torch.rand(2, 3, 96, 96)
    assert first.distance(frames, frames, normalize=True).abs().max() < 1e-6
    with pytest.raises(SparksError, match="is a trunk for small models; remove it"):
        perceptual_distance(folder, "Lightricks/LTX-2")
