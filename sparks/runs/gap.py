"""When in a clip an edit begins to show: how near each moment is to the prompt, and to the source.

    gap(t) = similarity(edit prompt, around t) - similarity(source prompt, around t)

of CLIP on the frame at t where the model brings one (in logits, so that the gap is the log odds of
one against the other), else of the critic on the frames around it (its log odds for each).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparks.critics.base import Critic
from sparks.files import replacing

AROUND = 9  # frames that a critic of motion is shown for one moment
_BATCH = 8

#: Of clips `[B, T, 3, H, W]` to their similarity to each prompt `[B, prompts]`.
Scorer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Curves:
    """Of one clip, at each of its frames.

    Attributes:
        edit, static: similarity to the edit prompt and to the source's; the second None without a
            source prompt.
    """

    edit: list[float]
    static: list[float] | None

    @property
    def gap(self) -> list[float]:
        """How much nearer the edit prompt is; without a source prompt, how near."""
        if self.static is None:
            return self.edit
        return [one - other for one, other in zip(self.edit, self.static, strict=True)]

    def means(self) -> dict[str, float | None]:
        """Over the clip, by name."""
        mean = {"similarity_edit": _mean(self.edit), "gap": _mean(self.gap)}
        return {**mean, "similarity_static": None if self.static is None else _mean(self.static)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def clip_scorer(folder: Path, prompts: Sequence[str], device: torch.device) -> Scorer:
    """Compare single frames by the frozen CLIP in `folder`: logits, which are scaled cosines."""
    from sparks.critics.contrast import ClipCritic, clip_logits

    critic = ClipCritic(folder, device=device)
    texts = critic.tokens(list(prompts))
    return lambda clips: clip_logits(critic.model, critic.pixels(clips[:, :1].to(device)), texts)[0]


def critic_scorer(critic: Critic, prompts: Sequence[str]) -> Scorer:
    """Ask a critic about each prompt: its log odds."""

    def score(clips: Tensor) -> Tensor:
        every = list(range(clips.shape[1]))
        return torch.stack([critic.log_odds(clips, prompt, every) for prompt in prompts], dim=1)

    return score


@torch.no_grad()
def frame_curves(score: Scorer, frames: Tensor, around: int) -> Curves:
    """Similarities at each of `frames [T, 3, H, W]`, seen with `around - 1` neighbours."""
    around = min(around, len(frames))
    starts = [min(max(0, t - around // 2), len(frames) - around) for t in range(len(frames))]
    parts = []
    for first in range(0, len(starts), _BATCH):
        clips = [frames[start : start + around] for start in starts[first : first + _BATCH]]
        parts.append(score(torch.stack(clips)))
    columns = torch.cat(parts).T.tolist()
    return Curves(columns[0], columns[1] if len(columns) > 1 else None)


COLOURS = ("#8a8a8a", "#c8501e", "#2f6f9f")


def draw_curves(path: Path, curves: Mapping[str, Curves], fps: float, measured_by: str) -> None:
    """Write a PNG over the seconds of each clip: both similarities, and below them their gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), dpi=120, layout="constrained")
    near, gap = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for (name, one), colour in zip(curves.items(), COLOURS, strict=False):
        seconds = [index / fps for index in range(len(one.edit))]
        near.plot(seconds, one.edit, color=colour, label=f"{name}: to the edit prompt")
        if one.static is not None:
            label = f"{name}: to the static prompt"
            near.plot(seconds, one.static, color=colour, linestyle=(0, (2, 2)), label=label)
        gap.plot(seconds, one.gap, color=colour)
        gap.fill_between(seconds, one.gap, 0, color=colour, alpha=0.12, linewidth=0)
    gap.axhline(0, color="grey", linewidth=0.8)
    near.set(ylabel=f"similarity ({measured_by})")
    gap.set(xlabel="seconds", ylabel="gap: nearer to the edit")
    figure.legend(*near.get_legend_handles_labels(), loc="outside upper center", ncols=len(curves))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
