from pathlib import Path

import pytest
import torch

from sparks.editors.controls import Controls, controls_metadata, load_controls, save_controls
from sparks.errors import SparksError
from sparks.spaces.base import FullSpace, Space


def controls(batch: int = 1) -> Controls:
    return Controls(torch.randn(batch, 2, 5, 3), torch.randn(batch, 4, 6))


def test_controls_survive_the_disk(tmp_path: Path) -> None:
    given = controls()
    save_controls(tmp_path / "c.safetensors", given, {"prompt": "it glows"})
    back = load_controls(tmp_path / "c.safetensors")
    assert torch.equal(back.alpha, given.alpha)
    assert torch.equal(back.delta_v, given.delta_v)
    assert controls_metadata(tmp_path / "c.safetensors") == {"prompt": "it glows"}


def test_other_files_are_no_controls(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match="cannot read controls"):
        load_controls(tmp_path / "gone.safetensors")
    from safetensors.torch import save_file

    save_file({"alpha": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(SparksError, match="holds no controls"):
        load_controls(tmp_path / "other.safetensors")


@pytest.mark.parametrize(("mode", "dim"), [("both", 54), ("audio", 30), ("text", 24)])
def test_full_space_is_the_identity_on_free_elements(mode: str, dim: int) -> None:
    start = controls()
    space = FullSpace(start, mode=mode)
    assert isinstance(space, Space)
    assert space.dim == dim
    zero = space.decode(torch.zeros(2, dim))
    assert zero.batch == 2
    assert torch.equal(zero.alpha[1], start.alpha[0])
    assert torch.equal(zero.delta_v[0], start.delta_v[0])
    z = torch.randn(3, dim)
    moved = space.decode(z)
    assert torch.allclose(space.encode(moved), z, atol=1e-6)
    assert torch.equal(moved.alpha, start.alpha.expand(3, -1, -1, -1)) == (mode == "text")
    assert torch.equal(moved.delta_v, start.delta_v.expand(3, -1, -1)) == (mode == "audio")


def test_audio_init_moves_the_start() -> None:
    start = controls()
    zero = FullSpace(start, audio_init="zero").decode(torch.zeros(1, 54))
    assert not zero.alpha.any()
    noise = FullSpace(start, audio_init="random", mode="text").decode(torch.zeros(1, 24))
    again = FullSpace(start, audio_init="random", mode="text").decode(torch.zeros(1, 24))
    assert torch.equal(noise.alpha, again.alpha)
    assert not torch.equal(noise.alpha, start.alpha)
    other = FullSpace(start, audio_init="random", audio_init_seed=1).decode(torch.zeros(1, 54))
    assert not torch.equal(noise.alpha, other.alpha)


@pytest.mark.parametrize("option", [{"mode": "video"}, {"audio_init": "loud"}])
def test_unknown_choices_are_refused(option: dict[str, str]) -> None:
    with pytest.raises(SparksError, match="choose"):
        FullSpace(controls(), **option)
