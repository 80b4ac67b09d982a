"""The critic learns to grade: the closer a clip is to the action, the higher its log odds.

A judge that has only learned yes and no is as sure of an idle clip as it can be, and leaves a
search no slope to climb. A second, short training regresses the log odds on the strength measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.pocket import measure, world
from sparks.pocket.training.critic import (
    Asked,
    Pool,
    Questions,
    camera,
    draw_questions,
    equal_windows,
    row,
    watch,
)
from sparks.pocket.training.loop import Budget, autocast, fit, generator
from sparks.pocket.words import ACTIONS

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video

SLOPE = 5.0  # of the log odds, per unit of strength
PASS = 0.9  # strength at which the odds are even
CERTAIN = 4.5  # log odds of a clear case
FLAWED = 3.0  # log odds that a dissolve or a teleport costs
WEAK = (0.0, 1.0)  # share of the motion that weak clips keep
QUESTIONS = 4


def train_grading(
    model: Any,
    tokenizer: Any,
    vae: AutoencoderKLLTX2Video,
    folder: Path,
    budget: Budget,
    device: torch.device,
    batch: int,
    seed: int,
    pool: Pool,
) -> Any:
    """Smooth L1 between the log odds and `grade`."""
    model.to(device).train().requires_grad_(True)
    questions = Questions(model, tokenizer, device)
    for block in model.model.visual.blocks:
        block.attn.forward = equal_windows(block.attn)

    def loss(step: int) -> Tensor:
        frames, scenes = watch(vae, batch, seed, step, device, WEAK)
        made, theirs = pool.draw(batch // 2, step)
        frames, scenes = torch.cat([frames, made]), world.join(scenes, theirs)
        tracks = measure.track(frames, scenes.colour)
        strengths = measure.strengths(tracks)
        with autocast(device):
            seen = questions.see(model, camera(frames, generator(step, device, 4)))
        cpu = generator(step, torch.device("cpu"), 3)
        error = torch.zeros((), device=device)
        for _ in range(QUESTIONS):
            asked = draw_questions(scenes, cpu)
            with autocast(device):
                odds = questions.ask(model, seen, row(*asked))
            target = grade(tracks, strengths, scenes, asked)
            error = error + F.smooth_l1_loss(odds, target) / QUESTIONS
        return error

    fit("grading", [model], loss, folder, budget, learning_rate=3e-4)
    for block in model.model.visual.blocks:
        del block.attn.forward
    return model.eval()


def grade(seen: measure.Track, strengths: Tensor, scenes: world.Scenes, asked: Asked) -> Tensor:
    """Log odds `[B]` that a careful judge should give.

    They grow by SLOPE per unit of strength, less FLAWED for what is not continuous, and are
    -CERTAIN for another object. Blinks are counted and stillness is all or nothing.
    """
    colour, shape, action, _ = asked
    verdict = measure.verdict(seen, action, strengths)
    graded = (SLOPE * (verdict.strength - PASS)).clamp(-CERTAIN - 1.5, CERTAIN)
    exact = (action == ACTIONS.index("blink")) | (action == ACTIONS.index("stay"))
    certain = torch.where(verdict.strength >= 1, CERTAIN, -CERTAIN)
    odds = torch.where(exact, certain, graded)
    odds = odds - FLAWED * (~verdict.continuous | ~verdict.identity)
    odds = torch.where(verdict.continuous & verdict.identity, odds, odds.clamp(max=-1.0))
    named = (shape == scenes.shape) & (colour == scenes.colour)
    return torch.where(named, odds, odds.clamp(max=-CERTAIN))
