"""The check of a space."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparks.editors.controls import Controls
    from sparks.spaces.base import Space


def check_space(space: Space, start: Controls, *, atol: float = 1e-4) -> None:
    """Check that `space` keeps the promises of `Space`.

    Args:
        start: what `decode(0)` must be, batch 1: the untuned controls, unless `audio_init` says
            otherwise.
        atol: how much controls may differ where they should be equal.

    Raises:
        AssertionError: no whole positive dim, wrong shapes, not finite, not repeatable, candidates
            that influence one another, another start, coordinates that do nothing, changed input,
            a missing gradient, or an `encode` that does not lead back.
    """
    import torch

    assert isinstance(space.dim, int), f"dim is {space.dim!r}, not a whole number"
    assert space.dim > 0, f"dim is {space.dim}; there is nothing to search"
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, space.dim, generator=generator).to(start.alpha.device)
    z[0] = 0
    before = z.clone()
    moved = space.decode(z)
    for name, value in vars(moved).items():
        wanted = (3, *getattr(start, name).shape[1:])
        assert value.shape == wanted, f"decode makes {name} {tuple(value.shape)}, not {wanted}"
        assert value.isfinite().all(), f"decode makes {name} that is not finite"
    assert torch.equal(z, before), "decode changed the z it was given"
    assert gap(moved, space.decode(z)) == 0, "decode of the same z differs from call to call"
    assert gap(_row(moved, 0), start) <= atol, "decode(0) is not the start"
    assert gap(_row(moved, 1), start) > 0, "decode of another z is the start, too"
    single = space.decode(z[1:2])
    apart = gap(_row(moved, 1), single)
    assert apart <= atol, f"a candidate in a batch and alone differ by {apart:g}"
    _check_gradient(space, z)
    coordinates = space.encode(moved)
    assert coordinates.shape == z.shape, f"encode gives {tuple(coordinates.shape)}, not [B, k]"
    apart = gap(space.decode(coordinates), moved)
    assert apart <= atol, f"decode(encode(controls)) is {apart:g} away from controls"


def gap(first: Controls, second: Controls) -> float:
    """Largest difference of any element."""
    differences = (getattr(first, name) - getattr(second, name) for name in vars(first))
    # alpha is empty where an editor has no audio.
    return max(each.abs().max().item() for each in differences if each.numel())


def _row(controls: Controls, row: int) -> Controls:
    from sparks.editors.controls import Controls

    return Controls(controls.alpha[row : row + 1], controls.delta_v[row : row + 1])


def _check_gradient(space: Space, z: Tensor) -> None:
    leaf = z.clone().requires_grad_()
    moved = space.decode(leaf)
    total = moved.alpha[1].square().sum() + moved.delta_v[1].square().sum()
    assert total.requires_grad, "decode passes no gradient to z"
    total.backward()
    assert leaf.grad is not None, "decode passes no gradient to z"
    assert leaf.grad.isfinite().all(), "the gradient of z is not finite"
    assert leaf.grad[1].any(), "the gradient of z is zero"
    assert not leaf.grad[0].any(), "the controls of one candidate depend on another"
    assert not leaf.grad[2].any(), "the controls of one candidate depend on another"
