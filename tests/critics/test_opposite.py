"""The critic of benchmarks/opposite.py."""

from pathlib import Path

import pytest
import torch

from sparks import registry
from sparks.critics.qwen import QwenCritic
from sparks.errors import SparksError
from sparks.testing import check_critic

PROMPT, STILL = "a red ball jumps", "a red ball stays still"
FILE = Path(__file__).parents[2] / "benchmarks" / "opposite.py"


def test_the_opposite_counts_against(
    folder: Path, critic: QwenCritic, frames: torch.Tensor
) -> None:
    kind = registry.critics.get(f"{FILE}:Opposite")
    opposite = kind(str(folder), fps=12.5, static_prompt=STILL, weight=0.5)
    check_critic(opposite, frames, PROMPT, atol=1e-4)
    asked, against = (critic.log_odds(frames, prompt) for prompt in (PROMPT, STILL))
    found = opposite.log_odds(frames, PROMPT)
    torch.testing.assert_close(found, asked - 0.5 * against)
    with pytest.raises(SparksError, match="no opposite to ask about; say with --static-prompt"):
        kind(str(folder))
