"""One acceptance figure a stage, measured on scenes that no training draws from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparks.errors import SparksError
from sparks.pocket import measure, world
from sparks.pocket.words import (
    ACTIONS,
    COLOURS,
    MOVING,
    SHAPES,
    VARIANTS,
    every_prompt,
    phrase,
    understand,
)

SEED = 777_000_001
OPTIONAL = ("clip", "xclip", "judge")
Figures = dict[str, float]
Ask = Callable[[Tensor, str, str], Tensor]  # clip, prompt, the still one: log odds


class Answer(NamedTuple):
    """What a critic says of a clip with one deception, and whether it is so."""

    deception: str
    p_yes: float
    truth: bool


def acceptance(folder: Path, stages: list[str], count: int) -> Iterator[tuple[str, Figures]]:
    """Measure the model in `folder`, stage by stage, on `count` held-out clips each.

    Without `stages`, all those that it has; it may lack the critics that others can stand in for.

    Raises:
        SparksError: an unknown stage.
    """
    for unknown in set(stages) - set(MEASURES):
        raise SparksError(f"stage {unknown!r} is unknown: choose from {', '.join(MEASURES)}")
    own = [stage for stage in MEASURES if stage not in OPTIONAL or (folder / stage).is_dir()]
    for stage in stages or own:
        with torch.no_grad():
            yield stage, MEASURES[stage](folder, count)


def video_vae(folder: Path, count: int) -> Figures:
    """Shares of frames in which the reconstruction agrees with the source, and of clips kept."""
    from diffusers import AutoencoderKLLTX2Video

    from sparks.pocket.training.codec import decode_video, encode_video

    vae = AutoencoderKLLTX2Video.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    scenes = every_action(count)
    frames = world.render(scenes)
    decoded = torch.cat([decode_video(vae, encode_video(vae, part)) for part in frames.split(8)])
    truth, seen = measure.track(frames, scenes.colour), measure.track(decoded, scenes.colour)
    visible = truth.mass > 0.5 * truth.mass[:, :1]
    apart = torch.hypot(truth.x - seen.x, truth.y - seen.y)
    turned = torch.remainder(truth.angle - seen.angle + torch.pi, 2 * torch.pi) - torch.pi
    return {
        "position within 3 % of the width": _share(apart < 0.03, visible),
        "size within 10 %": _share((seen.radius / truth.radius - 1).abs() < 0.1, visible),
        "brightness within 10 %": _share((seen.mass / truth.mass - 1).abs() < 0.1, visible),
        "angle within 15 degrees": _share(turned.abs() < torch.pi / 12, visible),
        "action kept": _share(measure.judge(decoded, scenes.prompts()).happened),
    }


def audio_vae(folder: Path, count: int) -> Figures:
    """Error of the log-mel in nats, and how well the curves of loudness and pitch are kept."""
    from diffusers import AutoencoderKLLTX2Audio

    from sparks.editors.mel import log_mel

    vae = AutoencoderKLLTX2Audio.from_pretrained(
        folder / "audio_vae", torch_dtype=torch.float32
    ).eval()
    scenes = every_action(count)
    mel = log_mel(world.sound(scenes, SEED))
    decoded = torch.cat([vae.decode(vae.encode(m).latent_dist.mode()).sample for m in mel.split(8)])
    mel, decoded = mel[:, :, :196], decoded[:, :, :196]
    loud, heard = (m.exp().sum((1, 3)).log() for m in (mel, decoded))
    centred, other = loud - loud.mean(1, keepdim=True), heard - heard.mean(1, keepdim=True)
    likeness = (centred * other).sum(1) / (centred.norm(dim=1) * other.norm(dim=1))
    moves = loud.std(1) > 0.2
    within = (heard_pitch(decoded, scenes.shape) - heard_pitch(mel, scenes.shape)).abs() <= 1
    audible = loud > loud.amax(1, keepdim=True) - 3  # nats
    return {
        "log-mel error, nats": float((mel - decoded).abs().mean()),
        "loudness error, nats": float((loud - heard).abs().mean()),
        "loudness correlation where it varies": float(likeness[moves].mean()),
        "pitch within a semitone": _share(within, audible),
    }


def heard_pitch(mel: Tensor, shape: Tensor) -> Tensor:
    """Semitones above 80 Hz `[B, T]` of log-mels `[B, 2, T, 64]` of objects of `shape [B]`.

    The tone of that shape's timbre whose spectrum is most alike.
    """
    from sparks.editors.mel import log_mel

    semitones = torch.arange(0, 44, 0.5)
    times = torch.arange(4096) / world.SAMPLE_RATE
    phase = 2 * torch.pi * 80 * 2 ** (semitones[:, None] / 12) * times
    heard = mel.exp().mean(1)
    pitch = torch.empty(heard.shape[:2])
    for kind in shape.unique().tolist():
        tones = world.timbre(torch.tensor(kind), phase, torch.zeros(1))
        timbres = log_mel(tones[:, None]).exp()[:, 0, 8:16].mean(1)
        likeness = F.normalize(heard[shape == kind], dim=-1) @ F.normalize(timbres, dim=-1).T
        pitch[shape == kind] = semitones[likeness.argmax(-1)]
    return pitch


def text_encoder(folder: Path, count: int) -> Figures:
    """Share of prompts whose meaning a linear probe reads from the last state.

    The probe is fitted on some wordings and tested on the others; `count` is not used.
    """
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    from sparks.pocket.training.text import hidden_states, tokenise

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    encoder = Gemma3ForConditionalGeneration.from_pretrained(
        folder / "text_encoder", dtype=torch.float32
    )
    texts = every_prompt()
    states = hidden_states(encoder.eval(), *tokenise(tokenizer, texts, torch.device("cpu")))
    features = torch.cat([states[:, -1].flatten(1), torch.ones(len(texts), 1)], dim=1)
    held = torch.arange(len(texts)) % VARIANTS == 3  # one wording of each meaning
    read = [understand(text) for text in texts]
    figures = {}
    for name, words in (("colour", COLOURS), ("shape", SHAPES), ("action", ACTIONS)):
        label = torch.tensor([words.index(getattr(sentence, name)) for sentence in read])
        target = F.one_hot(label).float()
        ridge = features[~held].T @ features[~held] + 1e-2 * torch.eye(features.shape[1])
        weights = torch.linalg.solve(ridge, features[~held].T @ target[~held])
        figures[f"{name} read"] = _share((features[held] @ weights).argmax(1) == label[held])
    return figures


def perceptual(folder: Path, count: int) -> Figures:
    """Share of scenes in which a larger change of the object is farther away."""
    from sparks.pocket.perceptual import load_perceptual

    distance = load_perceptual(folder / "perceptual")
    scenes = world.draw(count, SEED, MOVING)
    state = world.motion(scenes, torch.zeros(1))[:, 0]
    figures = {}
    for name, step in (
        ("place", {"x": 0.06}),
        ("size", {"scale": 0.2}),
        ("angle", {"angle": 0.3}),
    ):
        change = torch.tensor([step.get(part, 0.0) for part in world.STATE])
        near, far = (world.paint(scenes, (state + k * change)[:, None])[:, 0] for k in (1, 2))
        here = world.paint(scenes, state[:, None])[:, 0]
        small, large = (distance(here * 2 - 1, other * 2 - 1).flatten() for other in (near, far))
        figures[f"larger change of {name} is farther"] = _share(large > small)
    return figures


def denoiser(folder: Path, count: int) -> Figures:
    """Shares of Retakes (K = 5, no guidance) in which the prompted action happens, by what is said.

    Text and sound agree; only the sound says it; only the text does (silence); the text does and
    the sound says that nothing happens.
    """
    from sparks.editors import LTX2Editor, Sampling
    from sparks.media.clip import Clip

    editor = LTX2Editor(str(folder))
    counts: dict[str, list[bool]] = {}
    scenes = every_action(count, MOVING)
    for index in range(count):
        scene = scenes[index : index + 1]
        idle, prompt = scene.acting("stay"), scene.prompts()[0]
        acting, resting = world.sound(scene)[0], world.sound(idle)[0]
        for name, source, sound, text in (
            ("sound and text", scene, acting, prompt),
            ("sound alone", scene, acting, scene.prompts(actions=False)[0]),
            ("text alone, silence", idle, torch.zeros_like(resting), prompt),
            ("text against an idle sound", idle, resting, prompt),
        ):
            clip = Clip(world.render(source)[0], world.FPS, sound, world.SAMPLE_RATE)
            conditioning = editor.prepare(clip, text, prefix_frames=5, seed=index)
            sampling = Sampling(num_inference_steps=8, grad_steps=4)
            frames = editor.render(conditioning, editor.start(conditioning), sampling=sampling)
            counts.setdefault(name, []).append(bool(measure.judge(frames, [prompt]).happened))
    return {f"acts on {name}": sum(hits) / len(hits) for name, hits in counts.items()}


def _qwen(folder: Path, count: int) -> list[Answer]:
    from sparks.critics.qwen import QwenCritic

    network = QwenCritic(str(folder), num_frames=world.WATCHED, fps=world.FPS)
    return answers(lambda clip, prompt, _: network.log_odds(clip, prompt), count, ACTIONS)


def _contrast(kind: str, folder: Path, count: int) -> list[Answer]:
    """Each moving action asked about against standing still."""
    from sparks.critics import contrast

    network = getattr(contrast, kind)(folder, num_frames=world.WATCHED)

    def ask(clip: Tensor, prompt: str, still: str) -> Tensor:
        network.contrast = [still]
        return network.log_odds(clip, prompt)  # type: ignore[no-any-return]

    return answers(ask, count, MOVING)


#: By the name of its folder, what each critic says of `count` clips of every kind.
CRITICS: dict[str, Callable[[Path, int], list[Answer]]] = {
    "critic": _qwen,
    "judge": _qwen,
    "clip": partial(_contrast, "ClipCritic"),
    "xclip": partial(_contrast, "XClipCritic"),
}


def _agreement_of(name: str, model: Path, count: int) -> Figures:
    """Balanced accuracy on clips with every deception, its halves, and how far P(yes) is off."""
    return agreement(CRITICS[name](model / name, count))


def answers(ask: Ask, count: int, actions: tuple[str, ...]) -> list[Answer]:
    """What `ask(clip, prompt, still)` says, and the truth, over questions on `actions`.

    The clips have every deception; `still` says that the object asked about does not move.
    """
    from sparks.pocket.training.critic import draw_questions, truth
    from sparks.pocket.training.shown import DECEPTIONS, deceive, shown

    scenes = world.draw(count, SEED)
    given: list[Answer] = []
    for number, kind in enumerate(DECEPTIONS):
        frames = deceive(scenes, kind, torch.Generator().manual_seed(number))
        questions = draw_questions(scenes, torch.Generator().manual_seed(number))
        labels, _ = truth(shown(frames, scenes), questions)
        for clip, label, *words in zip(frames, labels, *questions, strict=True):
            colour, shape, action, wording = (int(word) for word in words)
            if ACTIONS[action] not in actions:
                continue
            prompt = phrase(COLOURS[colour], SHAPES[shape], ACTIONS[action], wording)
            still = phrase(COLOURS[colour], SHAPES[shape], ACTIONS[0])
            p_yes = float(ask(clip[None], prompt, still)[0].sigmoid())
            given.append(Answer(kind, p_yes, bool(label)))
    return given


def agreement(given: list[Answer]) -> Figures:
    """Balanced accuracy and its two halves, and the expected calibration error."""
    right = {
        label: [(a.p_yes > 0.5) == label for a in given if a.truth == label]
        for label in (True, False)
    }
    yes, no = (sum(right[label]) / len(right[label]) for label in (True, False))
    bins = reliability(given)
    off = sum(count * abs(said - happened) for said, happened, count in bins) / len(given)
    return {
        "balanced accuracy": (yes + no) / 2,
        "right when yes": yes,
        "right when no": no,
        "calibration error": off,
    }


def reliability(given: list[Answer], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean P(yes), share of true ones and count, for each tenth of [0, 1] that has any."""
    sorted_in: list[list[Answer]] = [[] for _ in range(bins)]
    for answer in given:
        sorted_in[min(int(answer.p_yes * bins), bins - 1)].append(answer)
    return [
        (sum(a.p_yes for a in part) / len(part), sum(a.truth for a in part) / len(part), len(part))
        for part in sorted_in
        if part
    ]


MEASURES: dict[str, Callable[[Path, int], Figures]] = {
    "video_vae": video_vae,
    "audio_vae": audio_vae,
    "text_encoder": text_encoder,
    "perceptual": perceptual,
    "denoiser": denoiser,
    **{name: partial(_agreement_of, name) for name in CRITICS},
}


def every_action(count: int, actions: tuple[str, ...] = ACTIONS) -> world.Scenes:
    """Held-out scenes that take the actions in turn."""
    order = torch.tensor([ACTIONS.index(actions[i % len(actions)]) for i in range(count)])
    return replace(world.draw(count, SEED), action=order)


def _share(hits: Tensor, among: Any = None) -> float:
    return float((hits if among is None else hits[among]).float().mean())
