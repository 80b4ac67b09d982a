from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from sparks.testing import check_critic


class Brightness:
    """log odds = how much brighter than grey the video is."""

    differentiable = True

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        chosen = frames if indices is None else frames[:, list(indices)]
        return chosen.mean((1, 2, 3, 4)) - 0.5


class Hard(Brightness):
    differentiable = False

    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).detach().sign()


class Scalar(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).mean()


class Double(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).double()


class Noisy(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt) + torch.rand(len(frames))


class Relative(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        odds = super().log_odds(frames, prompt)
        return odds - odds.mean()


class Detached(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt).detach()


class Infinite(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames, prompt) / 0


class Writing(Brightness):
    def log_odds(self, frames: Tensor, prompt: str, indices=None) -> Tensor:
        return super().log_odds(frames.mul_(0.5), prompt)


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(3, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("critic", [Brightness(), Hard()])
def test_good_critics_pass(critic: Brightness, frames: Tensor) -> None:
    check_critic(critic, frames, "is it bright?")


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (Scalar(), "one per video"),
        (Double(), "float64"),
        (Noisy(), "the same call"),
        (Relative(), "one by one"),
        (Detached(), "no gradient"),
        (Infinite(), "not finite"),
        (Writing(), "changed the frames"),
    ],
)
def test_bad_critics_fail(critic: Brightness, message: str, frames: Tensor) -> None:
    with pytest.raises(AssertionError, match=message):
        check_critic(critic, frames, "is it bright?")
