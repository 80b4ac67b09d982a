"""The perceptual trunk learns to see what matters: which object, where, how large, how turned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparks.pocket import world
from sparks.pocket.perceptual import CHANNELS, Trunk
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.words import COLOURS, SHAPES

TARGETS = 6  # x, y, scale, cos and sin of the angle, visibility


def train_trunk(course: Course) -> tuple[Trunk, nn.Module]:
    """Returns the trunk and the head that reads the object's state from its last activation."""
    device, batch, seed = course.device, course.batch, course.seed
    torch.manual_seed(seed)
    trunk = Trunk().to(device)
    cells = (world.SIZE // 2 ** len(CHANNELS)) ** 2
    head = nn.Linear(CHANNELS[-1] * cells, TARGETS + len(SHAPES) + len(COLOURS)).to(device)

    def loss(step: int) -> Tensor:
        images, state, scenes = frames(batch, seed * 7919 + step, device)
        rng = generator(step, device)
        images = images + 0.05 * torch.randn(images.shape, generator=rng, device=device)
        predicted = head(trunk(images)[-1].flatten(1))
        position, shape, colour = predicted.split([TARGETS, len(SHAPES), len(COLOURS)], dim=1)
        seen = state[:, 5] > 0.5
        away = F.mse_loss(position[seen], state[seen])
        hidden = F.mse_loss(position[:, 5], state[:, 5])
        wrong = F.cross_entropy(shape[seen], scenes.shape[seen])
        wrong = wrong + F.cross_entropy(colour[seen], scenes.colour[seen])
        return 10 * away + hidden + 0.2 * wrong

    fit("perceptual", [trunk, head], loss, course, learning_rate=2e-3)
    return trunk.eval(), head.eval()


def frames(count: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, world.Scenes]:
    """Single frames in [-1, 1] with the state `[B, 6]` to be read from them."""
    scenes = world.draw(count, seed).to(device)
    rng = torch.Generator().manual_seed(seed)
    moments = world.DURATION * torch.rand(4, generator=rng)
    picks = torch.randint(4, (count,), generator=rng).to(device)
    state = world.motion(scenes, moments.to(device))[torch.arange(count, device=device), picks]
    x, y, scale, angle, visibility, *_ = state.unbind(1)
    target = torch.stack([x, y, scale, angle.cos(), angle.sin(), visibility], dim=1)
    return world.paint(scenes, state[:, None])[:, 0] * 2 - 1, target, scenes
