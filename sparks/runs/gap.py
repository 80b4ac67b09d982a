"""When in a clip an edit begins to show: how near each moment is to the prompt, against the source.

    gap(t) = log P(edit prompt | around t) - log P(source prompt | around t)

of CLIP on the frame at t where the model brings one, else of the critic on the frames around it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from sparks.critics.base import Critic
from sparks.files import replacing

AROUND = 9  # frames that a critic of motion is shown for one moment
_BATCH = 8

#: Of clips `[B, T, 3, H, W]` to their gaps `[B]`.
Scorer = Callable[[Tensor], Tensor]


def clip_scorer(folder: Path, prompt: str, source_prompt: str, device: torch.device) -> Scorer:
    """Compare single frames by the frozen CLIP in `folder`."""
    from sparks.critics.contrast import ClipCritic

    critic = ClipCritic(folder, static_prompt=source_prompt, device=device)
    return lambda clips: critic.log_odds(clips, prompt, [0])


def critic_scorer(critic: Critic, prompt: str, source_prompt: str | None) -> Scorer:
    """Ask a critic for both prompts; without a source prompt, for the edit's alone."""

    def score(clips: Tensor) -> Tensor:
        every = list(range(clips.shape[1]))
        edit = critic.log_odds(clips, prompt, every)
        return (
            edit if source_prompt is None else edit - critic.log_odds(clips, source_prompt, every)
        )

    return score


@torch.no_grad()
def frame_gaps(score: Scorer, frames: Tensor, around: int) -> list[float]:
    """The gap at each of `frames [T, 3, H, W]`, seen with `around - 1` neighbours."""
    around = min(around, len(frames))
    starts = [min(max(0, t - around // 2), len(frames) - around) for t in range(len(frames))]
    gaps: list[float] = []
    for first in range(0, len(starts), _BATCH):
        clips = [frames[start : start + around] for start in starts[first : first + _BATCH]]
        gaps += score(torch.stack(clips)).tolist()
    return gaps


def draw_gaps(path: Path, gaps: Mapping[str, list[float]], fps: float, measured_by: str) -> None:
    """Write a PNG with one curve per clip over its seconds; above 0 the edit is nearer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="grey", linewidth=0.8)
    for name, values in gaps.items():
        axes.plot([index / fps for index in range(len(values))], values, label=name)
    axes.set(xlabel="seconds", ylabel=f"edit nearer than source ({measured_by})")
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
