"""The critic learns to grade: the closer a clip is to the action, the higher its log odds.

A judge that has only learned yes and no is as sure of an idle clip as it can be, and leaves a
search no slope to climb. A second training regresses the log odds on the strength measured, also on
clips that searches found while they climbed this very critic, so that its mistakes are corrected
where a search would make use of them.
"""

from __future__ import annotations

from collections.abc import Callable
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
ASTRAY = 1.5  # log odds that another action in place of the one asked for costs
DIP = 0.8  # strength of a blink that dims the object all the way but does not count yet
WEAK = (0.0, 1.0)  # share of the motion that weak clips keep
QUESTIONS = 4
ROUND = 300  # training steps between two searches

Search = Callable[[Any, int], Pool]  # the critic as it is, and a seed


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
    search: Search,
) -> Any:
    """Smooth L1 between the log odds and `grade`; every ROUND steps the critic is searched anew."""
    model.to(device).train().requires_grad_(True)
    questions = Questions(model, tokenizer, device)
    for block in model.model.visual.blocks:
        block.attn.forward = equal_windows(block.attn)
    rounds: list[Pool] = []

    def loss(step: int) -> Tensor:
        while len(rounds) <= step // ROUND:
            rounds.append(_round(folder, len(rounds), model, search, seed, device))
        frames, scenes = watch(vae, batch, seed, step, device, WEAK)
        older = rounds[step % len(rounds)]
        for source, count in ((pool, batch // 4), (older, batch // 4), (rounds[-1], batch // 4)):
            made, theirs = source.draw(count, step)
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


def _round(
    folder: Path, number: int, model: Any, search: Search, seed: int, device: torch.device
) -> Pool:
    """What the searches of one round found; kept on disk for a training that is resumed."""
    path = folder / f"grading.round-{number}.safetensors"
    if not path.exists():
        search(model.eval(), seed * 7919 + 90_000_000 + number).save(path)
        model.train()
    return Pool.load(path, device)


def grade(seen: measure.Track, strengths: Tensor, scenes: world.Scenes, asked: Asked) -> Tensor:
    """Log odds `[B]` that a careful judge should give.

    They grow by SLOPE per unit of strength, less FLAWED for what is not continuous and ASTRAY for
    another action instead, and are -CERTAIN for another object. Stillness is all or nothing.
    """
    colour, shape, action, _ = asked
    verdict = measure.verdict(seen, action, strengths)
    blinking = action == ACTIONS.index("blink")
    dim = DIP * (1 - seen.mass.amin(1) / seen.mass[:, 0].clamp(min=1e-4)).clamp(0, 1)
    strength = torch.where(blinking, torch.maximum(verdict.strength, dim), verdict.strength)
    graded = (SLOPE * (strength - PASS)).clamp(-CERTAIN - ASTRAY, CERTAIN)
    graded = torch.where(blinking & (strength >= 1), CERTAIN, graded)
    certain = torch.where(verdict.strength >= 1, CERTAIN, -CERTAIN)
    odds = torch.where(action == ACTIONS.index("stay"), certain, graded)
    odds = odds - ASTRAY * _astray(strengths, action) * (odds < 0)
    odds = odds - FLAWED * (~verdict.continuous | ~verdict.identity)
    odds = torch.where(verdict.continuous & verdict.identity, odds, odds.clamp(max=-1.0))
    named = (shape == scenes.shape) & (colour == scenes.colour)
    return torch.where(named, odds, odds.clamp(max=-CERTAIN))


def _astray(strengths: Tensor, action: Tensor) -> Tensor:
    """How far the strongest action that was not asked for went, `[B]` in 0 .. 1."""
    others = strengths.clone()
    others[:, ACTIONS.index("stay")] = 0
    others.scatter_(1, action[:, None], 0)
    return others.amax(1).clamp(0, 1)
