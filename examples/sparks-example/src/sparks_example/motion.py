"""A critic without weights: does anything move?"""

from collections.abc import Sequence

from torch import Tensor


class Motion:
    """Says yes to a video whose frames differ; which object moves, and how, it does not ask.

    Args:
        threshold: mean absolute difference of consecutive frames at which the odds are even.
        sharpness: log odds per threshold.
    """

    differentiable = True

    def __init__(self, *, threshold: float = 0.01, sharpness: float = 2.0) -> None:
        self.threshold, self.sharpness = threshold, sharpness

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        """`[B]` of `frames [B, T, 3, H, W]`; the prompt does not matter."""
        seen = frames if indices is None else frames[:, list(indices)]
        motion = seen.float().diff(dim=1).abs().mean((1, 2, 3, 4))
        return self.sharpness * (motion / self.threshold - 1)
