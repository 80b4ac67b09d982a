"""The question against its opposite: a critic of its own, tried on the development half.

    sparks bench --tasks dev40 --budget renders=30 --output runs/opposite \\
        --critic benchmarks/opposite.py:Opposite --set critic.num_frames=24
"""

from collections.abc import Sequence

from torch import Tensor

from sparks.critics.qwen import QwenCritic
from sparks.errors import SparksError


class Opposite(QwenCritic):
    """Whether a video shows what the prompt says, and not what the source shows.

    log_odds = log_odds(prompt) - weight * log_odds(static_prompt); two critic calls a video.

    Args:
        model: as of `QwenCritic`.
        static_prompt: what the source shows; given by the program.
        weight: of the opposite.

    Raises:
        SparksError: it is not known what the source shows.
    """

    calls = 2

    def __init__(
        self,
        model: str,
        *,
        device: str = "cpu",
        fps: float = 25,
        static_prompt: str | None = None,
        weight: float = 0.5,
        num_frames: int = 8,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(model, device=device, fps=fps, num_frames=num_frames, size=size)
        if not static_prompt:
            raise SparksError(
                "there is no opposite to ask about; say with --static-prompt what it is"
            )
        self.static_prompt, self.weight = static_prompt, weight

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        """As of `QwenCritic`."""
        shown = super().log_odds(frames, prompt, indices)
        return shown - self.weight * super().log_odds(frames, self.static_prompt, indices)
