"""A world small enough to check by hand: frames are a sigmoid of a linear map of the controls."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sparks.editors.conditioning import LTX2Conditioning
from sparks.editors.controls import Controls
from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.schedule import Sampling
from sparks.search.budget import Budget
from sparks.search.evaluation import Watch
from sparks.search.objective import Objective, Weights
from sparks.search.problem import EditProblem
from sparks.spaces.base import FullSpace

FRAMES, SIDE = 9, 4
ALPHA, TEXT = (2, 5, 3), (4, 6)


def conditioning(seed: int = 3) -> LTX2Conditioning:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    plain = LTX2Conditioning(
        video_latent=randn(1, 12, 2),
        video_mask=torch.ones(1, 12, 1),
        alpha_0=randn(1, *ALPHA),
        audio_mask=torch.zeros(1, ALPHA[1], 1),
        v_p=randn(1, *TEXT),
        a_p=randn(1, *TEXT),
        v_n=randn(1, *TEXT),
        a_n=randn(1, *TEXT),
        noise_video=randn(1, 12, 2),
        noise_audio=randn(1, ALPHA[1], ALPHA[0] * ALPHA[2]),
        latent_shape=(3, 2, 2),
        fps=12.5,
        num_frames=FRAMES,
        prompt="it glows",
        seed=seed,
    )
    return plain.with_noise(seed)


@dataclass
class ToyEditor:
    """Counts one forward and, through the graph, one backward for each candidate."""

    forwards: int = 0
    backwards: int = 0
    renders: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        size = FRAMES * 3 * SIDE * SIDE
        self.of_alpha = 0.03 + torch.randn(30, size, generator=generator) / 8
        self.of_text = 0.03 + torch.randn(24, size, generator=generator) / 8

    def start(self, conditioning: LTX2Conditioning) -> Controls:
        return Controls(conditioning.alpha_0.clone(), torch.zeros_like(conditioning.v_p))

    def render(
        self,
        conditioning: LTX2Conditioning,
        controls: Controls,
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        gradient: bool = False,
    ) -> Tensor:
        flat = (
            controls.alpha.flatten(1) @ self.of_alpha + controls.delta_v.flatten(1) @ self.of_text
        )
        flat = (
            flat
            + conditioning.noise_video.mean((1, 2))[:, None]
            + guidance.video.guidance_scale
            - 3
        )
        self.renders.append(controls.batch)
        self.forwards += controls.batch
        if flat.requires_grad:
            flat.register_hook(self._count)
        return flat.sigmoid().view(-1, FRAMES, 3, SIDE, SIDE)

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class Brightness:
    """Says yes to bright frames."""

    differentiable = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, ...], int]] = []

    def log_odds(self, frames: Tensor, prompt: str, indices: Sequence[int] | None = None) -> Tensor:
        chosen = list(range(frames.shape[1]) if indices is None else indices)
        self.asked.append((prompt, tuple(chosen), len(frames)))
        return 20 * (frames[:, chosen].mean((1, 2, 3, 4)) - 0.5)


class Blind(Brightness):
    differentiable = False


def distance(first: Tensor, second: Tensor, normalize: bool) -> Tensor:
    assert normalize
    return (first - second).square().mean((1, 2, 3), keepdim=True)


def problem(
    budget: str | None = None,
    *,
    editor: Any = None,
    critic: Any = None,
    mode: str = "both",
    weights: Weights = Weights(),
    watch: Watch = Watch(num_frames=4),
    seed: int = 3,
    **objective: Any,
) -> EditProblem:
    editor = editor or ToyEditor()
    given = conditioning(seed)
    start = editor.start(given)
    return EditProblem(
        editor,
        given,
        critic or Brightness(),
        FullSpace(start, mode=mode),
        Objective(weights, start, distance=distance, **objective),
        budget=Budget.parse(budget) if budget else Budget(),
        watch=watch,
        seed=seed,
    )
