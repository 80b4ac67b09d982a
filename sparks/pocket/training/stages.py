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
from sparks.pocket.training import parallel
from sparks.pocket.training.loop import Budget, kept

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video
    from torch import Tensor

    from sparks.pocket.training.critic import Answer, Sizes
    from sparks.pocket.training.shown import Shown


@dataclass(frozen=True)
class Plan:
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

    @property
    def states(self) -> Path:
        """Where training states are; going on from weights is a training of its own."""
        return self.work / "warm" if self.warm else self.work

    def budget(self, steps: int) -> Budget:
        return Budget(max(1, round(steps * self.scale)), self.minutes)

    def batch_size(self, batch: int) -> int:
        """What of a batch this process draws."""
        return max(2, parallel.share(round(batch * self.batch)))

    def amount(self, count: int) -> int:
        """Of what is made once, for a stage; less only in a run of fewer steps."""
        return max(1, round(count * min(1.0, self.scale)))


#: What a stage leaves: the component's folder, and what writes it there.
Made: TypeAlias = Mapping[str, Callable[[Path], object]]


def video_vae(plan: Plan) -> Made:
    from sparks.pocket.training.codec import train_video

    size, sample = plan.batch_size(48), plan.amount(16)
    vae = train_video(plan.work, plan.budget(7_450), plan.device, size, plan.seed, sample)
    return {"vae": partial(save, vae)}


def video_decoder(plan: Plan) -> Made:
    """The video codec's decoder, trained on; the latent stays what it is."""
    from sparks.pocket.training.codec import train_decoder

    (video, _), batch = autoencoders(plan), plan.batch_size(48)
    vae = train_decoder(video, plan.work, plan.budget(4_000), plan.device, batch, plan.seed)
    return {"vae": partial(save, vae)}


def audio_vae(plan: Plan) -> Made:
    from sparks.pocket.training.codec import train_audio

    size, sample = plan.batch_size(32), plan.amount(16)
    vae = train_audio(plan.work, plan.budget(1_550), plan.device, size, plan.seed, sample)
    return {"audio_vae": partial(save, vae)}


def text_encoder(plan: Plan) -> Made:
    from sparks.pocket.training.text import train_text

    tokenizer, encoder = train_text(
        plan.work, plan.budget(1_500), plan.device, plan.batch_size(64), plan.seed
    )
    return {"tokenizer": tokenizer.save_pretrained, "text_encoder": partial(save, encoder)}


def perceptual(plan: Plan) -> Made:
    from sparks.pocket.perceptual import save_trunk
    from sparks.pocket.training.perceptual import train_trunk

    trunk, _ = train_trunk(
        plan.work, plan.budget(2_300), plan.device, plan.batch_size(256), plan.seed
    )
    return {"perceptual": partial(save_trunk, trunk)}


def denoiser(plan: Plan) -> Made:
    from sparks.pocket.training import models
    from sparks.pocket.training.denoiser import Cache, encode_world, train_denoiser

    video, audio = autoencoders(plan)
    tokenizer, encoder = text_models(plan)
    clips = parallel.share(plan.clips)
    numbers = range(parallel.rank() * clips, (parallel.rank() + 1) * clips)
    digest = _digest(plan, "vae", "audio_vae", "text_encoder")
    cache = kept(
        plan.work / f"clips-{numbers.start}-{numbers.stop}-{plan.seed}-{digest}.pt",
        lambda: vars(
            encode_world(numbers, video, audio, tokenizer, encoder, plan.device, plan.seed)
        ),
        plan.device,
    )
    networks = denoiser_models(plan) if plan.warm else (models.denoiser(), models.connectors())
    transformer, connectors = train_denoiser(
        networks,
        Cache(**cache),
        plan.states,
        plan.budget(6_000),
        plan.device,
        plan.batch_size(384),
        plan.seed,
        *([(3e-4, 1e-3)] if plan.warm else []),
    )
    return {"transformer": partial(save, transformer), "connectors": partial(save, connectors)}


def edits(plan: Plan) -> Made:
    """Nothing of the model, but what its critics learn from: see `_pool`."""
    from sparks.editors import LTX2Editor
    from sparks.pocket.training.critic import pleasing, quick_vision, train_critic
    from sparks.pocket.training.edits import random_edits, searched_edits

    def make() -> dict[str, Tensor]:
        editor = LTX2Editor(str(plan.output), device=plan.device, dtype=torch.float32)
        some = random_edits(editor, plan.amount(4_096), plan.seed)
        (video, _), batch = autoencoders(plan), plan.batch_size(128)
        if plan.warm:  # the critic that there is shows what the next one has to doubt
            scout, words = _critic_of(plan)
        else:
            scout, words = train_critic(
                video,
                plan.states,
                plan.budget(500),
                plan.device,
                batch,
                plan.seed,
                pool=some,
                name="scout",
            )
        with quick_vision(scout.model.visual):
            please = pleasing(scout, words, plan.device)
            pool = some.join(searched_edits(editor, plan.amount(512), plan.seed, please))
        return {"frames": pool.frames, "kept": pool.kept, **vars(pool.scenes)}

    kept(_pool_path(plan), make, torch.device("cpu"))
    return {}


def _critic_of(plan: Plan) -> tuple[Any, Any]:
    """The critic in the model folder, and its tokenizer."""
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    folder = plan.output / "critic"
    model = _load(Qwen2_5_VLForConditionalGeneration, folder, plan.device)
    return model, AutoTokenizer.from_pretrained(folder)


def _pool(plan: Plan) -> Shown:
    """Edits by the denoiser, a third of them by searches that pleased an early critic."""
    from sparks.pocket.training.shown import shown
    from sparks.pocket.world import Scenes

    path = _pool_path(plan)
    if not path.is_file():
        raise SparksError(f"edits {path} are not made yet: run stage edits first")
    found = torch.load(path, map_location=plan.device, weights_only=True)
    itself = found.pop("kept")
    return replace(shown(found.pop("frames"), Scenes(**found)), kept=itself)


def _pool_path(plan: Plan) -> Path:
    return plan.work / f"edits-{parallel.rank()}-{_digest(plan, 'transformer', 'connectors')}.pt"


def _digest(plan: Plan, *parts: str) -> str:
    """Of the weights that something is made with."""
    files = (file for part in parts for file in sorted((plan.output / part).glob("*.safetensors")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def critic(plan: Plan) -> Made:
    from sparks.pocket.training.critic import GUIDE, graded_truth

    return _critic(plan, GUIDE, "critic", graded_truth)


def judge(plan: Plan) -> Made:
    from sparks.pocket.training.critic import JUDGE, truth

    return _critic(plan, JUDGE, "judge", truth)


def _critic(plan: Plan, sizes: Sizes, name: str, answer: Answer) -> Made:
    from transformers import Qwen2_5_VLForConditionalGeneration

    from sparks.pocket.critic_model import save as save_critic
    from sparks.pocket.training.critic import train_critic

    (video, _), pool = autoencoders(plan), _pool(plan)
    number = torch.arange(len(pool), device=plan.device)
    pool = pool[number % 4 != (0 if name == "critic" else 2)]  # each lacks what the other has
    budget, batch = plan.budget(3_600), plan.batch_size(128)
    start = _start(plan, Qwen2_5_VLForConditionalGeneration, name)
    model, tokenizer = train_critic(
        video, plan.states, budget, plan.device, batch, plan.seed, sizes, pool, name, start, answer
    )
    return {name: partial(save_critic, model=model.half(), tokenizer=tokenizer)}


def clip(plan: Plan) -> Made:
    from transformers import CLIPModel

    from sparks.pocket.training.contrast import train_clip

    return _contrast(plan, train_clip, CLIPModel, "clip")


def xclip(plan: Plan) -> Made:
    from transformers import XCLIPModel

    from sparks.pocket.training.contrast import train_xclip

    return _contrast(plan, train_xclip, XCLIPModel, "xclip")


def _contrast(plan: Plan, train: Callable[..., Any], kind: Any, name: str) -> Made:
    from sparks.pocket.contrast_model import save as save_contrast

    (video, _), pool = autoencoders(plan), _pool(plan)
    budget, batch = plan.budget(2_000), plan.batch_size(128)
    start = _start(plan, kind, name)
    model, tokenizer = train(video, plan.states, budget, plan.device, batch, plan.seed, pool, start)
    return {name: partial(save_contrast, model=model.half(), tokenizer=tokenizer)}


def _start(plan: Plan, kind: Any, name: str) -> Any:
    return _load(kind, plan.output / name, plan.device) if plan.warm else None


STAGES: dict[str, Callable[[Plan], Made]] = {
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

#: Each stage draws from a seed of its own, which stays when others come before it.
SEEDS = {
    **{"video_vae": 1, "audio_vae": 2, "text_encoder": 3, "perceptual": 4, "denoiser": 5},
    **{"edits": 6, "critic": 7, "clip": 8, "xclip": 9, "judge": 10, "video_decoder": 11},
}


def train(plan: Plan, stages: Sequence[str] = tuple(STAGES)) -> None:
    """Write the folder's index and run the stages in their order.

    Raises:
        SparksError: an unknown stage, or one that needs a component not yet trained.
    """
    for unknown in set(stages) - set(STAGES):
        raise SparksError(f"stage {unknown!r} is unknown: choose from {', '.join(STAGES)}")
    torch.backends.cudnn.benchmark = True  # every step has the same shapes
    if parallel.rank() == 0:
        write_index(plan.output)  # first: the critics learn from what the model so far makes
    parallel.wait()
    for name, stage in STAGES.items():
        if name in stages:
            torch.manual_seed(plan.seed)
            made = stage(replace(plan, seed=plan.seed * 100 + SEEDS[name]))
            for folder, write in made.items() if parallel.rank() == 0 else ():
                write(plan.output / folder)
            parallel.wait()


def save(module: Any, folder: Path) -> None:
    """Half precision on disk; a component's own `save_pretrained` decides the files."""
    if isinstance(getattr(module, "config", None), Mapping):
        module.register_to_config(_name_or_path="")  # a path of this machine, if it was loaded
    module.half().save_pretrained(folder)
    module.float()


def autoencoders(plan: Plan) -> tuple[AutoencoderKLLTX2Video, AutoencoderKLLTX2Audio]:
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video

    video = _load(AutoencoderKLLTX2Video, plan.output / "vae", plan.device)
    return video, _load(AutoencoderKLLTX2Audio, plan.output / "audio_vae", plan.device)


def text_models(plan: Plan) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    encoder = _load(Gemma3ForConditionalGeneration, plan.output / "text_encoder", plan.device)
    return AutoTokenizer.from_pretrained(plan.output / "tokenizer"), encoder


def denoiser_models(plan: Plan) -> tuple[Any, Any]:
    from diffusers import LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    transformer = _load(LTX2VideoTransformer3DModel, plan.output / "transformer", plan.device)
    return transformer, _load(LTX2TextConnectors, plan.output / "connectors", plan.device)


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
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
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
    path.write_text(json.dumps(scheduler, indent=2) + "\n", encoding="utf-8")
    settings = resources.files("sparks").joinpath("configs", "pocket.yaml").read_text("utf-8")
    (folder / "sparks.yaml").write_text(settings, encoding="utf-8")


def _load(kind: Any, folder: Path, device: torch.device) -> Any:
    if not (folder / "config.json").is_file():
        raise SparksError(f"component {folder} is not trained yet: run its stage first")
    module: nn.Module = kind.from_pretrained(folder, torch_dtype=torch.float32)
    return module.to(device).eval().requires_grad_(False)
