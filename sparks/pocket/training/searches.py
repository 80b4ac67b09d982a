"""What searches find: clips on the way from idle to what pleases a critic, rightly or wrongly.

A judge that is climbed meets clips that no one would draw: half-made actions, wrong ones, and
whatever its own mistakes reward. They are made here by many searches at once, one per scene.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.controls import Controls
from sparks.editors import Guidance, LTX2Editor, ModalityGuidance, Sampling
from sparks.media import Clip
from sparks.pocket import world
from sparks.pocket.training.critic import Pool, Questions, row
from sparks.pocket.training.loop import autocast, generator
from sparks.pocket.words import MOVING

if TYPE_CHECKING:
    from sparks.editors.conditioning import Conditioning

STEPS = 30
KEPT = 2  # one iterate of so many
RATES = (0.03, 0.2)  # of Adam, drawn between these on a log scale, one per scene
PREFIX_FRAMES = 5
SAMPLING = Sampling(num_inference_steps=8, grad_steps=4)
FINAL = Guidance(video=ModalityGuidance(guidance_scale=1.5, modality_scale=2.0))
# Batch-sized tensors of a conditioning; the rest is common to all clips of the world.
_ROWS = ("video_latent", "alpha_0", "v_p", "a_p", "v_n", "a_n", "noise_video", "noise_audio")


def search(
    editor: LTX2Editor, questions: Questions, model: Any, count: int, at_once: int, seed: int
) -> Pool:
    """Iterates of `count` searches, and the guided render of each one's best.

    Args:
        editor: on the critic's device.
        questions, model: the critic that is climbed.
        count: idle scenes, each with a moving action to ask for.
        at_once: scenes rendered together.
        seed: of scenes, noise and learning rates.
    """
    scenes = world.draw(count, seed, MOVING)
    rng = generator(seed, torch.device("cpu"), 8)
    low, high = (torch.tensor(rate).log() for rate in RATES)
    rates = (low + (high - low) * torch.rand(count, generator=rng)).exp()
    parts = [slice(i, i + at_once) for i in range(0, count, at_once)]
    pools = [climb(editor, questions, model, scenes[part], rates[part])[0] for part in parts]
    frames = torch.cat([pool.frames for pool in pools])
    joined = pools[0].scenes
    for pool in pools[1:]:
        joined = world.join(joined, pool.scenes)
    return Pool(frames, joined)


def climb(
    editor: LTX2Editor, questions: Questions, model: Any, scenes: world.Scenes, rates: Tensor
) -> tuple[Pool, Tensor, Tensor]:
    """Adam on the controls of every scene together; also the best's plain and guided frames."""
    conditioning = _together([_prepare(editor, scenes[i : i + 1]) for i in range(len(scenes))])
    device = conditioning.v_p.device
    asked = row(scenes.colour, scenes.shape, scenes.action, torch.zeros_like(scenes.action))
    start = editor.start(conditioning)
    leaves = [start.alpha.clone().requires_grad_(), start.delta_v.clone().requires_grad_()]
    steps = [_Adam(leaf, rates.to(device)) for leaf in leaves]
    best = torch.full((len(scenes),), torch.inf, device=device)
    kept = [leaf.detach().clone() for leaf in leaves]
    made, plain = [], torch.empty(0)
    for index in range(STEPS):
        frames = editor.render(conditioning, Controls(*leaves), sampling=SAMPLING, gradient=True)
        with autocast(device):
            odds = questions.ask(model, questions.see(model, frames), asked.to(device))
        loss = -F.logsigmoid(odds.float())
        gradients = torch.autograd.grad(loss.sum(), leaves)
        better = loss.detach() < best
        best = torch.where(better, loss.detach(), best)
        plain = frames.detach() if index == 0 else _chosen(better, frames.detach(), plain)
        kept = [_chosen(better, leaf.detach(), old) for leaf, old in zip(leaves, kept, strict=True)]
        if index % KEPT == 0:
            made.append((255 * frames.detach()).byte())
        for step, gradient in zip(steps, gradients, strict=True):
            step(gradient, index / STEPS)
    with torch.no_grad():
        final = editor.render(conditioning, Controls(*kept), sampling=SAMPLING, guidance=FINAL)
    made.append((255 * final).byte())
    rows = torch.arange(len(scenes)).repeat(len(made))
    return Pool(torch.cat(made), scenes[rows].to(device)), plain, final


class _Adam:
    """Adam with a learning rate of its own for every row, falling to zero like half a cosine."""

    def __init__(self, leaf: Tensor, rates: Tensor) -> None:
        self.leaf, self.rates = leaf, rates.view(-1, *[1] * (leaf.ndim - 1))
        self.first, self.second, self.count = torch.zeros_like(leaf), torch.zeros_like(leaf), 0

    @torch.no_grad()
    def __call__(self, gradient: Tensor, progress: float) -> None:
        self.count += 1
        self.first.lerp_(gradient, 0.1)
        self.second.lerp_(gradient.square(), 0.001)
        mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        fall = 0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * progress))
        self.leaf -= fall.item() * self.rates * mean / (square.sqrt() + 1e-8)


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)


def _prepare(editor: LTX2Editor, scene: world.Scenes) -> Conditioning:
    idle, seed = scene.acting("stay"), int(scene.x * 1e6)
    clip = Clip(world.render(idle)[0], world.FPS, world.sound(idle, seed)[0], world.SAMPLE_RATE)
    return editor.prepare(
        clip,
        scene.prompts()[0],
        negative_prompt="blurry low quality",
        prefix_frames=PREFIX_FRAMES,
        seed=seed,
    )


def _together(each: list[Conditioning]) -> Conditioning:
    """One conditioning with a row per scene."""
    rows: dict[str, Any] = {n: torch.cat([getattr(one, n) for one in each]) for n in _ROWS}
    return dataclasses.replace(each[0], **rows)
