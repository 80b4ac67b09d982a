"""The critic learns to answer what the world's measurement would answer.

It sees clean clips, reconstructions of noisy latents, edits, and deceptions: dissolves,
teleports, actions too weak to count, frozen video, noise, the wrong object and the wrong action.
Labels come from the pixels (`measure.verdict`), never from what a clip was meant to show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparks.critics.chat import answer_ids, question_inputs
from sparks.critics.preprocess import NORMS, Preprocess
from sparks.critics.qwen import QUESTION, embed_patches
from sparks.critics.sampling import select
from sparks.pocket import measure, world
from sparks.pocket.critic_model import build_model, build_tokenizer
from sparks.pocket.training.edits import Please, Pleasing
from sparks.pocket.training.fast import autocast
from sparks.pocket.training.grading import grade
from sparks.pocket.training.loop import Course, fit, generator
from sparks.pocket.training.shown import Asked, Reel, Shown
from sparks.pocket.words import ACTIONS, COLOURS, SHAPES, VARIANTS, every_prompt
from sparks.pocket.world import WATCHED

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

QUESTIONS = 8  # on every clip of a training step
TRACKED = 7  # numbers by which a frame's object is described
STAY = ACTIONS.index("stay")
NEAR = 0.25  # P(yes) of what very nearly happened

#: P(yes) `[B]` that a critic learns, and its weight.
Answer: TypeAlias = Callable[[Shown, Asked], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Sizes:
    """How large a critic is; two critics of different size and seed do not fail alike."""

    hidden: int = 160
    layers: int = 3
    vision_hidden: int = 128
    vision_depth: int = 3
    patches: int = 4  # on the side of a frame


GUIDE = Sizes()  # the critic that searches ask
# Held out: it only judges. It looks closer than the guide, or it would be pleased by the same.
JUDGE = Sizes(hidden=112, layers=3, vision_hidden=96, vision_depth=4, patches=8)


class Questions:
    """Every question as the model's inputs, computed once, and several asked of a video at a time.

    All questions begin alike, with the video, and differ at their ends only. So the beginning goes
    through the model once, followed by the ends of all that are asked, none of which sees another.
    """

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        tokenizer: Qwen2Tokenizer,
        device: torch.device,
    ) -> None:
        self.indices = select(world.NUM_FRAMES, WATCHED, "linspace")
        seconds = 2 * (self.indices[-1] - self.indices[0] + 1) / WATCHED / float(world.FPS)
        texts = [QUESTION.replace("{prompt}", prompt) for prompt in every_prompt()]
        across = world.SIZE // model.config.vision_config.patch_size
        grid = (WATCHED // 2, across, across)
        inputs = question_inputs(tokenizer, model.config, texts, grid, seconds)
        positions, _ = model.model.get_rope_index(
            input_ids=inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            video_grid_thw=inputs["video_grid_thw"],
            second_per_grid_ts=inputs["second_per_grid_ts"],
            attention_mask=inputs["attention_mask"],
        )
        lengths = inputs["attention_mask"].sum(1)  # the padding is on the left
        longest, width = int(lengths.argmax()), int(lengths.max())
        ids, positions = inputs["input_ids"][:, -width:], positions[..., -width:]
        alike = (ids == ids[longest])[lengths == width].all(0).int()
        shared = int(alike.cumprod(0).sum())
        self.answers = answer_ids(tokenizer, ("yes", "no"))
        self.start, self.start_at = ids[longest, :shared].to(device), positions[:, longest, :shared]
        self.start_at = self.start_at.to(device)
        self.ends, self.ends_at = ids[:, shared:].to(device), positions[..., shared:].to(device)
        column = torch.arange(width - shared, device=device)
        self.said = column >= (width - lengths.to(device))[:, None]  # not the end of the beginning
        self.preprocess = Preprocess(model.config.vision_config.patch_size)

    def see(self, model: Any, frames: Tensor) -> Tensor:
        """What the vision tower makes of `frames [B, T, 3, H, W]`, bytes: `[B, tokens, hidden]`."""
        pixels, grid = self._pixels(frames[:, self.indices])
        # Frame pairs never see each other in the vision tower, so one long video is the same batch.
        joined = grid[:1] * torch.tensor([len(frames), 1, 1], device=grid.device)
        seen = model.model.visual(pixels, grid_thw=joined).pooler_output
        return seen.unflatten(0, (len(frames), -1))

    def _pixels(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What `preprocess` makes of bytes, at once in the precision that they are needed in."""
        patches, grid = self.preprocess.patchify(frames)
        kind = frames.device.type
        halved = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if halved else torch.float32
        mean, std = (torch.tensor(v, device=frames.device)[:, None] for v in NORMS["clip"])
        pixels = patches.unflatten(1, (len(mean), -1)).to(dtype)
        return pixels.mul_(1 / (255 * std)).sub_(mean / std).flatten(1), grid

    def ask(self, model: Any, seen: Tensor, rows: Tensor) -> Tensor:
        """Log odds of yes `[B, n]` for the videos `seen`, to the questions `rows [B, n]`."""
        count, per_video = rows.shape
        ids = torch.cat([self.start.expand(count, -1), self.ends[rows].flatten(1)], dim=1)
        words = model.get_input_embeddings()(ids)
        places = (ids == model.config.video_token_id)[..., None].expand_as(words)
        beginning = self.start_at[:, None].expand(-1, count, -1)
        output = model.model.language_model(
            inputs_embeds=words.masked_scatter(places, seen.to(words.dtype)),
            attention_mask={"full_attention": self._mask(rows)},
            position_ids=torch.cat([beginning, self.ends_at[:, rows].flatten(2)], dim=2),
            use_cache=False,
        ).last_hidden_state
        last = output[:, len(self.start) :].unflatten(1, (per_video, -1))[:, :, -1]
        head = model.lm_head.weight[self.answers]
        with torch.autocast(last.device.type, enabled=False):
            logits = last.float() @ head.float().T
        return logits[..., 0] - logits[..., 1]

    def _mask(self, rows: Tensor) -> Tensor:
        """What may be seen from where, `[B, 1, L, L]` bool: the beginning, and one's own end."""
        count, per_video = rows.shape
        start, width = len(self.start), self.ends.shape[1]
        part = torch.arange(per_video, device=rows.device).repeat_interleave(width)
        part = torch.cat([part.new_full((start,), -1), part])
        place = torch.arange(len(part), device=rows.device)
        earlier = place <= place[:, None]
        own = earlier & ((part == part[:, None]) | (part == -1))
        said = torch.cat([part.new_ones(count, start).bool(), self.said[rows].flatten(1)], dim=1)
        # A place that is not said sees itself, since everything must see something.
        seen = own & said[:, None] | torch.eye(len(part), dtype=torch.bool, device=rows.device)
        return seen[:, None]


def train_critic(
    vae: AutoencoderKLLTX2Video,
    course: Course,
    sizes: Sizes = GUIDE,
    pool: Shown | None = None,
    name: str = "critic",
    start: Qwen2_5_VLForConditionalGeneration | None = None,
    answer: Answer | None = None,
) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]:
    """Binary cross-entropy against the measurement, several questions on each clip.

    A second head on the vision tower reads the object's track from it, which teaches it to see
    long before the answers do; it is thrown away at the end.

    Args:
        pool: edits; without them the critic never sees what searches make.
        name: of the training state in the course's folder.
        start: a model of these sizes to go on from.
        answer: what it learns to say; `graded_truth`, unless told otherwise.
    """
    device, seed = course.device, course.seed
    answer = answer or graded_truth
    torch.manual_seed(seed)
    tokenizer = build_tokenizer([QUESTION.replace("{prompt}", p) for p in every_prompt()])
    model = build_model(
        tokenizer,
        hidden=sizes.hidden,
        layers=sizes.layers,
        vision_hidden=sizes.vision_hidden,
        vision_depth=sizes.vision_depth,
        patch_size=world.SIZE // sizes.patches,
        seed=seed,
    )
    if start is not None:
        model.load_state_dict(start.state_dict())
    model = model.to(device)
    tokens = (sizes.patches // 2) ** 2
    eyes = nn.Linear(sizes.hidden * tokens, 2 * TRACKED + len(COLOURS) + len(SHAPES)).to(device)
    questions = Questions(model, tokenizer, device)
    reel = Reel(vae, course, pool)

    def loss(step: int) -> Tensor:
        shown = reel.draw(step)
        with autocast(device):
            seen = questions.see(model, shown.frames)
            read = eyes(seen.unflatten(1, (WATCHED // 2, tokens)).flatten(2)).float()
        error = reading_error(read, shown)
        cpu = generator(step, torch.device("cpu"), 3)
        every = shown.known[torch.arange(len(shown), device=device).repeat_interleave(QUESTIONS)]
        questions_asked = draw_questions(every.scenes, cpu)
        told = (row(*questions_asked), *answer(every, questions_asked))
        rows, labels, weights = (each.unflatten(0, (-1, QUESTIONS)) for each in told)
        with autocast(device):
            odds = questions.ask(model, seen, rows)
        return error + F.binary_cross_entropy_with_logits(odds, labels, weights)

    with quick_vision(model.model.visual):
        fit(name, [model, eyes], loss, course, **rates(going_on=start is not None))
    return model.eval(), tokenizer


def rates(*, going_on: bool) -> dict[str, float]:
    """Of `fit` for all critics, half as high where one goes on from trained weights."""
    rate = 5e-4 if going_on else 1e-3
    return {"learning_rate": rate, "matrix_rate": 2 * rate, "weight_decay": 0.05}


def draw_questions(scenes: world.Scenes, rng: torch.Generator) -> Asked:
    """Colour, shape, action and wording asked about: mostly what is shown, often not quite."""
    count, device = len(scenes), scenes.x.device
    kind = torch.rand(count, generator=rng).to(device)

    def other(value: Tensor, options: int, when: Tensor) -> Tensor:
        step = torch.randint(1, options, (count,), generator=rng).to(device)
        return torch.where(when, (value + step) % options, value)

    action = other(scenes.action, len(ACTIONS), (kind > 0.52) & (kind < 0.78))
    # Left and right differ in one thing only, so they are asked about more often.
    left, right = (ACTIONS.index(action) for action in ("slide_left", "slide_right"))
    slides = (scenes.action == left) | (scenes.action == right)
    opposite = slides & (kind > 0.52) & (kind < 0.68)
    action = torch.where(opposite, left + right - scenes.action, action)
    colour = other(scenes.colour, len(COLOURS), (kind > 0.78) & (kind < 0.88))
    shape = other(scenes.shape, len(SHAPES), kind > 0.86)
    # The one that stands by, asked to do what the other does; that it stays would be true.
    beside = (kind > 0.78) & (scenes.other_place[:, 2] > 0) & (scenes.action != STAY)
    return (
        torch.where(beside, scenes.other_colour, colour),
        torch.where(beside, scenes.other_shape, shape),
        action,
        torch.randint(VARIANTS, (count,), generator=rng).to(device),
    )


def truth(shown: Shown, asked: Asked) -> tuple[Tensor, Tensor]:
    """The measured answer `[B]` and its weight, small where the strength is near the limit.

    The measurement follows the scenes' own object: asked about any other, the answer is no.
    """
    colour, shape, action, _ = asked
    verdict = measure.verdict(shown.tracks, action, shown.strengths)
    named = (shape == shown.scenes.shape) & (colour == shown.scenes.colour)
    marginal = (verdict.strength > 0.75) & (verdict.strength < 1.15)
    unclear = verdict.continuous & verdict.identity & marginal
    exact = (action == ACTIONS.index("blink")) | (action == STAY)
    happened = verdict.happened & named & shown.kept
    return happened.float(), torch.where(unclear & ~exact & named, 0.2, 1.0)


def graded_truth(shown: Shown, asked: Asked) -> tuple[Tensor, Tensor]:
    """`truth`, but a no says how close an unbroken motion came: `grade`, as P(yes) up to NEAR."""
    happened, weights = truth(shown, asked)
    verdict = measure.verdict(shown.tracks, asked[2], shown.strengths)
    close = grade(shown, asked).sigmoid().clamp(max=NEAR)
    return torch.where(verdict.continuous & verdict.identity, close, 0.0).maximum(happened), weights


def reading_error(read: Tensor, shown: Shown) -> Tensor:
    """How far `read [B, pairs, ...]` is from telling where the object is, and what it is."""
    tracks, scenes = shown.tracks, shown.scenes
    place = [4 * tracks.x, 4 * tracks.y, 8 * tracks.radius, 30 * tracks.mass, tracks.gap]
    curves = torch.stack([*place, tracks.angle.cos(), tracks.angle.sin()], -1)
    index = torch.tensor(select(world.NUM_FRAMES, WATCHED, "linspace"), device=read.device)
    target = curves[:, index].unflatten(1, (-1, 2)).flatten(2)
    there = (tracks.mass[:, index] > 0.3 * tracks.mass[:, :1]).unflatten(1, (-1, 2)).all(2).float()
    track, colour, shape = read.split([2 * TRACKED, len(COLOURS), len(SHAPES)], dim=2)

    def mistaken(logits: Tensor, of: Tensor) -> Tensor:
        every = of.repeat_interleave(track.shape[1])
        return F.cross_entropy(logits.flatten(0, 1), every, reduction="none")

    wrong = mistaken(colour, scenes.colour) + mistaken(shape, scenes.shape)
    away = F.smooth_l1_loss(track, target, reduction="none").mean(2)
    return ((away + 0.2 * wrong.view_as(away)) * there).mean()


def row(colour: Tensor, shape: Tensor, action: Tensor, wording: Tensor) -> Tensor:
    return ((colour * len(SHAPES) + shape) * len(ACTIONS) + action) * VARIANTS + wording


def pleasing(
    model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, device: torch.device
) -> Pleasing:
    """What a search climbs that wants this critic's yes."""
    questions = Questions(model, tokenizer, device)

    def of(scenes: world.Scenes, wordings: list[int]) -> Please:
        said = torch.tensor(wordings, device=device)
        rows = row(scenes.colour, scenes.shape, scenes.action, said)[:, None]
        return lambda frames: questions.ask(model, questions.see(model, 255 * frames), rows)[:, 0]

    return of


@contextlib.contextmanager
def quick_vision(visual: Any) -> Iterator[None]:
    """The vision tower with the same result in less time, for frames of one size."""
    quick = {block.attn: equal_windows(block.attn) for block in visual.blocks}
    quick[visual.patch_embed] = partial(embed_patches, visual.patch_embed)
    before = {module: vars(module).get("forward") for module in quick}
    for module, forward in quick.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward  # its class has one
            if forward is not None:
                module.forward = forward


def equal_windows(attention: Any) -> Callable[..., Tensor]:
    """The vision tower's attention with all windows, of one length, in a single call."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

    def forward(
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        **_: object,
    ) -> Tensor:
        length, windows = hidden_states.shape[0], len(cu_seqlens) - 1
        qkv = attention.qkv(hidden_states).reshape(length, 3, attention.num_heads, -1)
        query, key, value = qkv.permute(1, 0, 2, 3).unbind(0)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        query, key, value = (
            t.unflatten(0, (windows, -1)).transpose(1, 2) for t in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
        return attention.proj(mixed.transpose(1, 2).reshape(length, -1))

    return forward
