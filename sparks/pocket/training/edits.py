"""What edits look like: clips that the denoiser makes from honest, mixed and noisy sound."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sparks.controls import Controls
from sparks.editors import LTX2Editor, Sampling
from sparks.media import Clip
from sparks.pocket import world
from sparks.pocket.training import parallel
from sparks.pocket.training.loop import generator
from sparks.pocket.training.shown import Shown, shown
from sparks.pocket.words import MOVING

CANDIDATES = 8  # sounds tried on one clip and prompt


@torch.no_grad()
def make_pool(folder: Path, count: int, device: torch.device, seed: int) -> Shown:
    """Retakes of `count / CANDIDATES` idle clips, each under CANDIDATES different sounds.

    The sound moves from the clip's idle one towards that of an action and past it, with noise: the
    way a search moves it.
    """
    editor = LTX2Editor(str(folder), device=device)
    tried = min(CANDIDATES, count)
    scenes = world.draw(max(parallel.size(), count // tried), seed * 7919 + 50_000_000, MOVING)
    mine = range(parallel.rank(), len(scenes), parallel.size())
    streams = [generator(i, torch.device("cpu"), seed) for i in mine]
    frames = [
        _edits(editor, scenes[i : i + 1], tried, rng) for i, rng in zip(mine, streams, strict=True)
    ]
    rows = torch.tensor(mine).repeat_interleave(tried)
    return shown(torch.cat(frames), scenes[rows].to(device))


def _edits(editor: LTX2Editor, scene: world.Scenes, tried: int, rng: torch.Generator) -> Tensor:
    idle, other = _clip(scene.acting("stay")), _clip(scene)
    prompt, seed = scene.prompts()[0], int(scene.x * 1e6)
    conditioning = editor.prepare(idle, prompt, prefix_frames=5, seed=seed)
    towards = editor.prepare(other, prompt, prefix_frames=5, seed=0).alpha_0
    start = editor.start(conditioning)

    def uniform(high: float) -> Tensor:
        return high * torch.rand(tried, 1, 1, 1, generator=rng).to(start.alpha.device)

    noise = torch.randn(tried, *start.alpha.shape[1:], generator=rng).to(start.alpha.device)
    alpha = start.alpha + uniform(1.3) * (towards.float() - start.alpha) + uniform(1.0) ** 2 * noise
    delta = torch.randn(tried, *start.delta_v.shape[1:], generator=rng).to(start.alpha.device)
    controls = Controls(alpha, uniform(0.5)[:, 0] * delta)
    sampling = Sampling(num_inference_steps=8, grad_steps=1)
    made = editor.render(conditioning, controls, sampling=sampling)
    return (255 * made).round().byte()


def _clip(scene: world.Scenes) -> Clip:
    return Clip(world.render(scene)[0], world.FPS, world.sound(scene)[0], world.SAMPLE_RATE)
