"""What the search asks of a critic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Critic(Protocol):
    """A frozen judge that answers yes or no about a video.

    Attributes:
        differentiable: whether `log_odds` carries a gradient to the frames.
        calls: critic calls that `log_odds` is on each video: questions asked times windows seen.
        bundled: of the class: the folder of a model that holds weights for it, from which `model`
            is filled in where the user names none; `{part}` stands for what it is used as, `critic`
            or `judge`. None for one that needs no weights.
    """

    differentiable: bool
    calls: int = 1
    bundled: str | None = None

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        """log(P(yes) / P(no)) for each video of a batch; P(yes) is its sigmoid.

        Args:
            frames: [B, T, 3, H, W] in [0, 1].
            prompt: the edit prompt that the question is about.
            indices: which of the T frames to look at; the critic's own sampling if None.

        Returns:
            [B] float32.
        """
        ...
