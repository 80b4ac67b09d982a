"""The stages of `sparks pocket train`, each leaving its component in the model folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from sparks.errors import SparksError
from sparks.files import write_text
from sparks.pocket.training import parallel
from sparks.pocket.training.loop import Course, made_once

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
    from torch import Tensor

    from sparks.pocket.training.critic import Answer, Sizes
    from sparks.pocket.training.finished import Finished
    from sparks.pocket.training.shown import Shown


@dataclass(frozen=True)
class Training:
    """What one run of the training is asked to do."""

    output: Path  # the model folder
    work: Path  # training states, to resume from
    device: torch.device
    seed: int = 0
    scale: float = 1.0  # of all step counts
    minutes: float = float("inf")  # at most, per stage
    clips: int = 80_000  # encoded for the denoiser
    batch: float = 1.0  # of all batch sizes
    warm: bool = False  # denoiser and critics go on from the weights in the model folder
    finished: Finished | None = None  # edits by searches, which critics learn from as well

    @property
    def states(self) -> Path:
        """Where training states are; going on from weights is a training of its own."""
        return self.work / "warm" if self.warm else self.work

    @property
    def critic_states(self) -> Path:
        """Where those of critics are; learning from other edits is a training of its own."""
        return self.states / self.finished.digest if self.finished else self.states

    def course(self, folder: Path, steps: int, batch: int) -> Course:
        """Of a stage that wants so many steps in such batches: what of them this process draws."""
        steps = max(1, round(steps * self.scale))
        batch = max(2, parallel.share(round(batch * self.batch)))
        return Course(folder, steps, self.minutes, self.device, batch, self.seed)

    def amount(self, count: int) -> int:
        """Of what is made once, for a stage; less only in a run of fewer steps."""
        return max(1, round(count * min(1.0, self.scale)))


#: What a stage leaves: the component's folder, and what writes it there.
Made: TypeAlias = Mapping[str, Callable[[Path], object]]


def video_vae(training: Training) -> Made:
    from sparks.pocket.training.codec import train_video

    vae = train_video(training.course(training.work, 7_450, 48), training.amount(16))
    return {"vae": partial(save, vae)}


def video_decoder(training: Training) -> Made:
    """The video codec's decoder, trained on; the latent stays what it is."""
    from sparks.pocket.training.codec import train_decoder

    video, _ = autoencoders(training)
    vae = train_decoder(video, training.course(training.work, 4_000, 48))
    return {"vae": partial(save, vae)}


def audio_vae(training: Training) -> Made:
    from sparks.pocket.training.codec import train_audio

    vae = train_audio(training.course(training.work, 1_550, 32), training.amount(16))
    return {"audio_vae": partial(save, vae)}


def text_encoder(training: Training) -> Made:
    from sparks.pocket.training.text import train_text

    tokenizer, encoder = train_text(training.course(training.work, 1_500, 64))
    return {"tokenizer": tokenizer.save_pretrained, "text_encoder": partial(save, encoder)}


def perceptual(training: Training) -> Made:
    from sparks.pocket.perceptual import save_trunk
    from sparks.pocket.training.perceptual import train_trunk

    trunk, _ = train_trunk(training.course(training.work, 2_300, 256))
    return {"perceptual": partial(save_trunk, trunk)}


def denoiser(training: Training) -> Made:
    from sparks.pocket.training import models
    from sparks.pocket.training.denoiser import Cache, encode_world, train_denoiser

    video, audio = autoencoders(training)
    tokenizer, encoder = text_models(training)
    clips = parallel.share(training.clips)
    numbers = range(parallel.rank() * clips, (parallel.rank() + 1) * clips)
    digest = _digest(training, "vae", "audio_vae", "text_encoder")
    cache = made_once(
        training.work / f"clips-{numbers.start}-{numbers.stop}-{training.seed}-{digest}.pt",
        lambda: vars(
            encode_world(numbers, video, audio, tokenizer, encoder, training.device, training.seed)
        ),
        training.device,
    )
    networks = (
        denoiser_models(training) if training.warm else (models.denoiser(), models.connectors())
    )
    transformer, connectors = train_denoiser(
        networks,
        Cache(**cache),
        training.course(training.states, 6_000, 384),
        *([(3e-4, 1e-3)] if training.warm else []),
    )
    return {"transformer": partial(save, transformer), "connectors": partial(save, connectors)}


def edits(training: Training) -> Made:
    """Nothing of the model, but what its critics learn from: see `_pool`."""
    from sparks.editors import LTX2Editor
    from sparks.pocket.training.critic import pleasing, quick_vision, train_critic
    from sparks.pocket.training.edits import evolved_edits, random_edits, searched_edits

    def make() -> dict[str, Tensor]:
        editor = LTX2Editor(str(training.output), device=training.device, dtype=torch.float32)
        some = random_edits(editor, training.amount(4_096), training.seed)
        video, _ = autoencoders(training)
        if training.warm:  # the critic that there is shows what the next one has to doubt
            scout, words = _critic_of(training)
        else:
            course = training.course(training.states, 500, 128)
            scout, words = train_critic(video, course, pool=some, name="scout")
        with quick_vision(scout.model.visual):
            please = pleasing(scout, words, training.device)
            climbed = searched_edits(editor, training.amount(512), training.seed, please)
            wandered = evolved_edits(editor, training.amount(2_048), training.seed + 1, please)
        pool = some.join(climbed).join(wandered)
        return {"frames": pool.frames, "kept": pool.kept, **vars(pool.scenes)}

    path = training.work / f"edits-{parallel.rank()}-{_made_with(training)}.pt"
    made_once(path, make, torch.device("cpu"))
    return {}


def _critic_of(training: Training) -> tuple[Any, Any]:
    """The critic in the model folder, and its tokenizer."""
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    folder = training.output / "critic"
    model = _load(Qwen2_5_VLForConditionalGeneration, folder, training.device)
    return model, AutoTokenizer.from_pretrained(folder)


def _pool(training: Training) -> Shown:
    """Edits by the denoiser, most by searches that pleased a critic: this process's share.

    With its share of the finished ones, if there are any.
    """
    from sparks.pocket.training.shown import each, shown
    from sparks.pocket.world import Scenes

    paths = sorted(training.work.glob(f"edits-*-{_made_with(training)}.pt"))
    if not paths:
        raise SparksError(f"edits in {training.work} are not made yet: run stage edits first")
    parts = []
    for path in paths[parallel.rank() % len(paths) :: parallel.size()]:
        pool = torch.load(path, map_location=training.device, weights_only=True)
        frames, itself = pool.pop("frames"), pool.pop("kept")
        parts.append(replace(shown(frames, Scenes(**pool)), kept=itself))
    if training.finished is not None:
        parts.append(training.finished.shown(training.work, training.device))
    return each(torch.cat, *parts)


def _made_with(training: Training) -> str:
    """What edits depend on."""
    return _digest(training, "transformer", "connectors")


def _digest(training: Training, *parts: str) -> str:
    """Of the weights that something is made with."""
    folders = (training.output / part for part in parts)
    files = (file for folder in folders for file in sorted(folder.glob("*.safetensors")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def critic(training: Training) -> Made:
    from sparks.pocket.training.critic import GUIDE, graded_truth

    return _critic(training, GUIDE, "critic", graded_truth)


def judge(training: Training) -> Made:
    from sparks.pocket.training.critic import JUDGE, truth

    return _critic(training, JUDGE, "judge", truth)


def _critic(training: Training, sizes: Sizes, name: str, answer: Answer) -> Made:
    from sparks.pocket.critic_model import save as save_critic
    from sparks.pocket.training.critic import train_critic

    (video, _), pool = autoencoders(training), _pool(training)
    number = torch.arange(len(pool), device=training.device)
    pool = pool[number % 2 == (1 if name == "critic" else 0)]  # neither sees what the other does
    course = training.course(training.critic_states, 3_600, 128)
    start = _critic_start(training, name, sizes) if training.warm else None
    model, tokenizer = train_critic(
        video, course, sizes, pool=pool, name=name, start=start, answer=answer
    )
    return {name: partial(save_critic, model=model.half(), tokenizer=tokenizer)}


def _critic_start(training: Training, name: str, sizes: Sizes) -> Any:
    """The critic in the model folder, to go on from.

    Raises:
        SparksError: there is none, or one of other sizes.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    from sparks.pocket import world

    folder = training.output / name
    model = _load(Qwen2_5_VLForConditionalGeneration, folder, training.device)
    text, vision = model.config.text_config, model.config.vision_config
    there = replace(
        sizes,
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        vision_hidden=vision.hidden_size,
        vision_depth=vision.depth,
        patches=world.SIZE // vision.patch_size,
    )
    if there != sizes:
        raise SparksError(f"{folder} is {there}, now it is {sizes}; train it without --warm")
    return model


def clip(training: Training) -> Made:
    from transformers import CLIPModel

    from sparks.pocket.training.contrast import train_clip

    return _contrast(training, train_clip, CLIPModel, "clip")


def xclip(training: Training) -> Made:
    from transformers import XCLIPModel

    from sparks.pocket.training.contrast import train_xclip

    return _contrast(training, train_xclip, XCLIPModel, "xclip")


def _contrast(training: Training, train: Callable[..., Any], kind: Any, name: str) -> Made:
    from sparks.pocket.contrast_model import save as save_contrast

    (video, _), pool = autoencoders(training), _pool(training)
    course = training.course(training.critic_states, 2_000, 128)
    model, tokenizer = train(video, course, pool, _start(training, kind, name))
    return {name: partial(save_contrast, model=model.half(), tokenizer=tokenizer)}


def _start(training: Training, kind: Any, name: str) -> Any:
    return _load(kind, training.output / name, training.device) if training.warm else None


STAGES: dict[str, Callable[[Training], Made]] = {
    "video_vae": video_vae,
    "audio_vae": audio_vae,
    "text_encoder": text_encoder,
    "perceptual": perceptual,
    "video_decoder": video_decoder,
    "denoiser": denoiser,
    "edits": edits,
    "critic": critic,
    "clip": clip,
    "xclip": xclip,
    "judge": judge,
}

#: Those that learn from edits.
CRITICS = ("critic", "clip", "xclip", "judge")

#: Each stage draws from a seed of its own, which stays when others come before it.
SEEDS = {
    **{"video_vae": 1, "audio_vae": 2, "text_encoder": 3, "perceptual": 4, "denoiser": 5},
    **{"edits": 6, "critic": 7, "clip": 8, "xclip": 9, "judge": 10, "video_decoder": 11},
}


def train(training: Training, stages: Sequence[str] = tuple(STAGES)) -> None:
    """Write the folder's index and run the stages in their order.

    Raises:
        SparksError: an unknown stage, one that needs a component not yet trained, finished edits
            for stages that learn from none, or critics of other sizes to go on from.
    """
    for unknown in set(stages) - set(STAGES):
        raise SparksError(f"stage {unknown!r} is unknown: choose from {', '.join(STAGES)}")
    if training.finished is not None and not set(stages) & set(CRITICS):
        raise SparksError(
            f"stages {','.join(stages)} learn nothing from finished edits; leave --edits out, or "
            f"ask for {', '.join(CRITICS)}"
        )
    if training.warm:
        _check_starts(training, stages)
    torch.backends.cudnn.benchmark = True  # every step has the same shapes
    if parallel.rank() == 0:
        write_index(training.output)  # first: the critics learn from what the model so far makes
    parallel.wait()
    for name, stage in STAGES.items():
        if name in stages:
            torch.manual_seed(training.seed)
            made = stage(replace(training, seed=training.seed * 100 + SEEDS[name]))
            for folder, write in made.items() if parallel.rank() == 0 else ():
                write(training.output / folder)
            parallel.wait()


def _check_starts(training: Training, stages: Sequence[str]) -> None:
    """Refuse critics that cannot be gone on from before others are trained for an hour."""
    from sparks.pocket.training.critic import GUIDE, JUDGE

    for name, sizes in {"critic": GUIDE, "judge": JUDGE}.items():
        if name in stages:
            _critic_start(training, name, sizes)


def save(module: Any, folder: Path) -> None:
    """Half precision on disk; a component's own `save_pretrained` decides the files."""
    if isinstance(getattr(module, "config", None), Mapping):
        module.register_to_config(_name_or_path="")  # a path of this machine, if it was loaded
    module.half().save_pretrained(folder)
    module.float()


def autoencoders(training: Training) -> tuple[AutoencoderKLLTX2Video, AutoencoderKLLTX2Audio]:
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video

    video = _load(AutoencoderKLLTX2Video, training.output / "vae", training.device)
    return video, _load(AutoencoderKLLTX2Audio, training.output / "audio_vae", training.device)


def text_models(training: Training) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    encoder = _load(
        Gemma3ForConditionalGeneration, training.output / "text_encoder", training.device
    )
    return AutoTokenizer.from_pretrained(training.output / "tokenizer"), encoder


def denoiser_models(training: Training) -> tuple[Any, Any]:
    from diffusers import LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    transformer = _load(
        LTX2VideoTransformer3DModel, training.output / "transformer", training.device
    )
    return transformer, _load(LTX2TextConnectors, training.output / "connectors", training.device)


def write_index(folder: Path) -> None:
    """What makes the folder a model: diffusers' index, the schedule, the settings it likes."""
    index = {
        "_class_name": "LTX2Pipeline",
        "vae": ["diffusers", "AutoencoderKLLTX2Video"],
        "audio_vae": ["diffusers", "AutoencoderKLLTX2Audio"],
        "text_encoder": ["transformers", "Gemma3ForConditionalGeneration"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "connectors": ["ltx2", "LTX2TextConnectors"],
        "transformer": ["diffusers", "LTX2VideoTransformer3DModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "vocoder": [None, None],
    }
    write_text(folder / "model_index.json", json.dumps(index, indent=2) + "\n")
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "use_dynamic_shifting": True,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
        "shift_terminal": 0.1,
    }
    path = folder / "scheduler" / "scheduler_config.json"
    write_text(path, json.dumps(scheduler, indent=2) + "\n")
    settings = resources.files("sparks").joinpath("configs", "pocket.yaml").read_text("utf-8")
    write_text(folder / "sparks.yaml", settings)


def _load(kind: Any, folder: Path, device: torch.device) -> Any:
    if not (folder / "config.json").is_file():
        raise SparksError(f"component {folder} is not trained yet: run its stage first")
    module: nn.Module = kind.from_pretrained(folder, torch_dtype=torch.float32)
    return module.to(device).eval().requires_grad_(False)
