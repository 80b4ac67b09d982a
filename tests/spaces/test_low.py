import time
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.registry import spaces
from sparks.spaces.base import OffsetSpace, Space
from sparks.spaces.low import TemporalSpace
from sparks.testing import check_space

NAMES = ("temporal", "lowrank", "random")
LINEAR = ("temporal", "random")


def controls(seed: int = 0, batch: int = 1) -> Controls:
    generator = torch.Generator().manual_seed(seed)
    alpha = 3 * torch.randn(batch, 2, 12, 5, generator=generator)
    return Controls(alpha, torch.randn(batch, 7, 30, generator=generator))


def untuned() -> Controls:
    return Controls(controls().alpha, torch.zeros(1, 7, 30))


def space(name: str, start: Controls | None = None, **options: Any) -> OffsetSpace:
    made: OffsetSpace = spaces.get(name)(start or untuned(), **options)
    return made


def moves(made: OffsetSpace, z: Tensor) -> Tensor:
    """Offsets of both controls `[B, d]`, in standard deviations of the start."""
    there = made.decode(z)
    alpha = (there.alpha - made.start.alpha) / controls().alpha.std()
    return torch.cat([alpha.flatten(1), (there.delta_v - made.start.delta_v).flatten(1)], dim=1)


@pytest.mark.parametrize(
    ("name", "options", "dims"),
    [
        ("temporal", {"frequencies": 3, "rank": 2}, (6, 4)),
        ("lowrank", {"rank": 2}, (2 * (12 + 10), 2 * (7 + 30))),
        ("random", {"k": 9}, (5, 4)),
    ],
)
def test_each_space_has_the_coordinates_it_says(
    name: str, options: dict[str, int], dims: tuple[int, int]
) -> None:
    both = space(name, **options)
    assert isinstance(both, Space)
    assert both.dim == sum(dims)
    audio, text = (space(name, mode=mode, **options) for mode in ("audio", "text"))
    expected = (9, 9) if name == "random" else dims
    assert (audio.dim, text.dim) == expected
    moved = audio.decode(torch.ones(2, audio.dim))
    assert torch.equal(moved.delta_v, both.start.delta_v.expand(2, -1, -1))
    assert not torch.equal(moved.alpha[0], both.start.alpha[0])
    moved = text.decode(torch.ones(2, text.dim))
    assert torch.equal(moved.alpha, both.start.alpha.expand(2, -1, -1, -1))
    assert moved.delta_v.any()


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_the_start_and_candidates_are_apart(name: str) -> None:
    made = space(name)
    zero = made.decode(torch.zeros(3, made.dim))
    assert torch.equal(zero.alpha, controls().alpha.expand(3, -1, -1, -1))
    assert not zero.delta_v.any()
    z = torch.randn(3, made.dim, generator=torch.Generator().manual_seed(1))
    together = moves(made, z)
    apart = torch.cat([moves(made, row[None]) for row in z])
    assert torch.allclose(together, apart, atol=1e-5)
    silent = space(name, audio_init="zero")
    assert not silent.decode(torch.zeros(1, silent.dim)).alpha.any()


@pytest.mark.parametrize("name", LINEAR)
def test_a_coordinate_of_one_moves_its_control_by_the_scale(name: str) -> None:
    made = space(name, scale=0.25)
    for move in moves(made, torch.eye(made.dim)):
        alpha, delta_v = move[:120], move[120:]
        assert not (alpha.any() and delta_v.any())
        size = (alpha if alpha.any() else delta_v).square().mean().sqrt()
        assert 0.18 < size < 0.32


def test_lowrank_moves_by_the_scale_when_one_factor_is_all_ones() -> None:
    made = space("lowrank", mode="text", rank=1, scale=0.25)
    z = torch.cat([torch.zeros(1, 7), torch.ones(1, 30)], dim=1)
    assert torch.allclose(made.decode(z).delta_v.abs(), torch.tensor(0.25))


@pytest.mark.parametrize("name", LINEAR)
def test_encode_is_the_projection_onto_the_space(name: str) -> None:
    made = space(name)
    z = torch.randn(4, made.dim, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(made.encode(made.decode(z)), z, atol=1e-5)
    other = controls(seed=5)
    nearest = made.decode(made.encode(other))
    left = torch.cat(
        [(other.alpha - nearest.alpha).flatten(), (other.delta_v - nearest.delta_v).flatten()]
    )
    basis = moves(made, torch.eye(made.dim))
    assert left.norm() > 1
    assert (basis @ left).abs().max() < 1e-3


def test_lowrank_holds_every_offset_of_its_rank_and_encodes_the_nearest() -> None:
    made = space("lowrank", rank=2)
    start = made.start
    left, right = torch.randn(1, 7, 2), torch.randn(1, 2, 30)
    target = Controls(start.alpha, left @ right)
    reached = made.decode(made.encode(target))
    assert torch.allclose(reached.delta_v, target.delta_v, atol=1e-4)
    assert torch.allclose(reached.alpha, start.alpha, atol=1e-4)
    other = controls(seed=3)
    values = torch.linalg.svdvals(other.delta_v)[0]
    gap = (made.decode(made.encode(other)).delta_v - other.delta_v).norm()
    assert torch.allclose(gap, values[2:].norm(), rtol=1e-3)


def test_temporal_sound_is_smooth_and_its_text_of_low_rank() -> None:
    made = space("temporal", frequencies=3, rank=2)
    move = made.decode(torch.arange(made.dim, dtype=torch.float32)[None] ** 2 / 20)
    alpha = move.alpha[0] - made.start.alpha[0]
    spectrum = torch.fft.rfft(torch.cat([alpha, alpha.flip(1)], dim=1), dim=1).abs().square()
    assert spectrum[:, :3].sum() > 0.999 * spectrum.sum()
    assert torch.linalg.matrix_rank(move.delta_v[0], rtol=1e-4) == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_at_the_start_reaches_both_controls(name: str) -> None:
    made = space(name)
    z = torch.zeros(2, made.dim, requires_grad=True)
    there = made.decode(z)
    generator = torch.Generator().manual_seed(4)
    weights = torch.randn(there.alpha[0].shape, generator=generator)
    text = torch.randn(there.delta_v[0].shape, generator=generator)
    ((there.alpha * weights).sum() + (there.delta_v * text).sum()).backward()
    assert z.grad is not None
    split = space(name, mode="audio").dim if name != "random" else made.dim // 2
    assert z.grad[0, :split].any()
    assert z.grad[0, split:].any()
    assert torch.allclose(z.grad[0], z.grad[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_space(name: str) -> None:
    z = torch.ones(1, space(name).dim)
    first, again, other = (moves(space(name, seed=seed), z) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize(
    ("name", "options"),
    [("temporal", {"frequencies": 16, "rank": 16}), ("lowrank", {}), ("random", {"k": 1024})],
)
def test_full_size_costs_little_more_than_the_controls(name: str, options: dict[str, int]) -> None:
    start = Controls(torch.randn(1, 8, 90, 16), torch.zeros(1, 1024, 4096))
    began = time.process_time()
    with Largest() as largest:
        made = space(name, start, **options)
        z = torch.zeros(2, made.dim, requires_grad=True)
        there = made.decode(z)
        (there.alpha.square().sum() + there.delta_v.sum()).backward()
        made.encode(Controls(there.alpha.detach()[:1], there.delta_v.detach()[:1]))
    assert largest.numel <= 2 * 1024 * 4096 + 2048
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("temporal", {"frequencies": 13}, "frequencies is 13; alpha's time steps are 12"),
        ("temporal", {"rank": 8}, "rank is 8"),
        ("lowrank", {"rank": 11}, "rank is 11; the rank of alpha are 10"),
        ("random", {"k": 1}, "k is 1"),
        ("random", {"k": 400}, "k's share for alpha is 200; its elements are 120"),
        ("random", {"scale": 0.0}, "scale is 0.0"),
        ("lowrank", {"rank": 0}, "rank is 0"),
        ("temporal", {"mode": "video"}, "mode is 'video'"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SparksError, match=message):
        space(name, **options)


def test_a_sound_can_be_faded_out_by_one_coordinate() -> None:
    start = untuned()
    silence = controls(seed=2).alpha
    options: dict[str, Any] = {"frequencies": 2, "rank": 2}
    fading = TemporalSpace(start, fade=True, silence=silence, **options)
    plain = TemporalSpace(start, **options)
    assert fading.dim == plain.dim + 1
    check_space(fading, start)
    assert torch.allclose(fading.decode(fading.landmarks).alpha, silence, atol=1e-5)
    text = TemporalSpace(start, fade=True, silence=silence, mode="text", **options)
    assert len(plain.landmarks) == len(text.landmarks) == 0
    with pytest.raises(SparksError, match="the editor tells no silence"):
        TemporalSpace(start, fade=True, **options)
