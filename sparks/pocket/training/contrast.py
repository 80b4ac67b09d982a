"""CLIP and X-CLIP learn which words of the world a clip is near to.

The odds of a prompt against "... stays still" are regressed on what a careful judge would give
(`grading.grade`), and every clip is set against all the world's prompts at once, as such models
are trained. What they see is what the critic sees in its training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparks.critics.contrast import Pixels, clip_logits, xclip_logits
from sparks.critics.preprocess import NORMS
from sparks.critics.sampling import select
from sparks.pocket import measure, world
from sparks.pocket.contrast_model import build_clip, build_tokenizer, build_xclip
from sparks.pocket.training import critic
from sparks.pocket.training.fast import autocast
from sparks.pocket.training.grading import WEAK, grade
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.training.shown import Reel, Shown
from sparks.pocket.words import ACTIONS, COLOURS, SHAPES, VARIANTS, every_prompt

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video
    from transformers import CLIPTokenizer

QUESTIONS = 8  # on every clip of a training step
NAMING = 0.3  # weight of telling the world's prompts apart
STAY = ACTIONS.index("stay")

Logits = Callable[[Any, Tensor, dict[str, Tensor]], tuple[Tensor, Any]]


def _train(
    name: str,
    build: Callable[[CLIPTokenizer], Any],
    logits_of: Logits,
    vae: AutoencoderKLLTX2Video,
    course: Course,
    pool: Shown,
    start: Any = None,
) -> tuple[Any, CLIPTokenizer]:
    """A second head reads the object's track from the vision tower, and is thrown away."""
    device, seed = course.device, course.seed
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(every_prompt())
    model = build(tokenizer)
    if start is not None:
        model.load_state_dict(start.state_dict())
    model = model.to(device)
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    eyes = nn.Linear(
        2 * patches * vision.hidden_size, 2 * critic.TRACKED + len(COLOURS) + len(SHAPES)
    ).to(device)
    prompts = tokenizer(every_prompt(), padding=True, return_tensors="pt").to(device)
    pixels_of = Pixels(vision.image_size, None, *NORMS["clip"])
    watched = select(world.NUM_FRAMES, world.WATCHED, "linspace")
    reel = Reel(vae, course, pool, WEAK)

    def loss(step: int) -> Tensor:
        shown = reel.draw(step)
        cpu = generator(step, torch.device("cpu"), 3)
        # One wording of each meaning a step.
        wording = torch.randint(VARIANTS, (1,), generator=cpu).item()
        texts = {key: value[wording::VARIANTS] for key, value in prompts.items()}
        seen = shown.frames[:, watched].float() / 255
        with autocast(device):
            logits, output = logits_of(model, pixels_of(seen), texts)
            tokens = output.vision_model_output.last_hidden_state[:, 1:]
            read = eyes(tokens.reshape(len(seen), world.WATCHED // 2, -1)).float()
        error = critic.reading_error(read, shown) + NAMING * _naming_error(logits, shown)
        return error + _asking_error(logits, shown, cpu)

    rates = critic.rates(going_on=start is not None)
    fit(name, [model, eyes], loss, course, **rates)
    return model.eval(), tokenizer


#: A CLIP that compares single frames with prompts.
train_clip = partial(_train, "clip", build_clip, clip_logits)
#: An X-CLIP that compares whole clips with prompts.
train_xclip = partial(_train, "xclip", build_xclip, xclip_logits)


def meaning(colour: Tensor, shape: Tensor, action: Tensor) -> Tensor:
    """Which of the world's prompts, whatever the wording."""
    return critic.row(colour, shape, action, torch.zeros_like(action)) // VARIANTS


def _asking_error(logits: Tensor, shown: Shown, rng: torch.Generator) -> Tensor:
    """Smooth L1 between the log odds of moving against standing still, and the grade."""
    clip = torch.arange(len(shown), device=logits.device).repeat_interleave(QUESTIONS)
    every = shown.known[clip]
    colour, shape, action, _ = asked = critic.draw_questions(every.scenes, rng)
    acts = logits[clip, meaning(colour, shape, action)]
    still = logits[clip, meaning(colour, shape, torch.full_like(action, STAY))]
    wrong = F.smooth_l1_loss(acts - still, grade(every, asked), reduction="none")
    return (wrong * (action != STAY)).mean()


def _naming_error(logits: Tensor, shown: Shown) -> Tensor:
    """Cross-entropy over all prompts, of the clips that show what they were meant to."""
    scenes = shown.scenes
    happened = measure.verdict(shown.tracks, scenes.action, shown.strengths).happened.float()
    shows = meaning(scenes.colour, scenes.shape, scenes.action)
    wrong = F.cross_entropy(logits, shows, reduction="none")
    return (wrong * happened).sum() / happened.sum().clamp(min=1)
