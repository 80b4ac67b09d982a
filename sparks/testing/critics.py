"""The check of a critic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparks.critics import Critic


def check_critic(critic: Critic, frames: Tensor, question: str, *, atol: float = 1e-3) -> None:
    """Check that `critic` keeps the promises of `Critic` on one batch.

    Args:
        frames: [B, T, 3, H, W] in [0, 1], B at least 2 and the videos different.
        question: the prompt that is asked of each.
        atol: how much log odds may differ between a batch and its videos one by one.

    Raises:
        AssertionError: wrong shape or type, not finite, not repeatable, batch items that influence
            one another, changed input, a missing or unusable gradient, or a number of calls that
            cannot be charged.
    """
    import torch

    from sparks.critics import Critic
    from sparks.registry import declared

    assert frames.shape[0] >= 2, f"give at least two videos to compare, not {frames.shape[0]}"
    frames = frames.detach()
    before = frames.clone()
    odds = critic.log_odds(frames, question)
    assert odds.shape == frames.shape[:1], f"log_odds is {tuple(odds.shape)}, not one per video"
    assert odds.dtype == torch.float32, f"log_odds is {odds.dtype}, not torch.float32"
    assert odds.isfinite().all(), f"log_odds is not finite: {odds.tolist()}"
    assert not odds.requires_grad, "log_odds has a gradient without one in the frames: freeze it"
    assert torch.equal(frames, before), "log_odds changed the frames it was given"
    again = critic.log_odds(frames, question)
    assert torch.equal(odds, again), f"the same call gave {odds.tolist()}, then {again.tolist()}"
    singles = torch.cat([critic.log_odds(video[None], question) for video in frames])
    gap = (odds - singles).abs().max().item()
    assert gap <= atol, f"a batch and its videos one by one differ by {gap:g}"
    looked = critic.log_odds(frames, question, list(range(frames.shape[1])))
    assert looked.shape == odds.shape, "log_odds fails when it is told which frames to look at"
    calls = declared(critic, Critic, "calls")
    assert isinstance(calls, int), f"calls is {calls!r}, not a whole number"
    assert calls >= 1, f"calls is {calls}; every video is charged at least one"
    _check_gradient(critic, frames, question)


def _check_gradient(critic: Critic, frames: Tensor, question: str) -> None:
    leaf = frames.clone().requires_grad_()
    odds = critic.log_odds(leaf, question)
    if not critic.differentiable:
        assert not odds.requires_grad, "log_odds has a gradient but differentiable is False"
        return
    assert odds.requires_grad, "differentiable is True but log_odds has no gradient"
    odds[0].backward()
    assert leaf.grad is not None, "the gradient does not reach the frames"
    assert leaf.grad.isfinite().all(), "the gradient of the frames is not finite"
    assert leaf.grad[0].any(), "the gradient of the frames is zero"
    assert not leaf.grad[1:].any(), "the log odds of one video depend on another"
