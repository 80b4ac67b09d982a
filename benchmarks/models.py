"""Random-weight models of any size, from the real classes, made in place on a device."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from sparks.editors.schedule import Sampling
from sparks.media.clip import Clip
from sparks.models.published import LTX_23, QWEN_7B, Component

_LTX2 = "diffusers.pipelines.ltx2"


@dataclass(frozen=True)
class Size:
    """What is measured: networks, clip and settings of an iteration.

    Attributes:
        components: networks of the editor by name.
        critic: the judge.
        frames, height, width: of the clip at 25 fps.
        text_length: positions of the text context.
        sampling: denoising steps, all and with gradient.
        critic_size: height and width the critic sees, for its 8 frames.
        perceptual_size: height and width LPIPS sees.
    """

    components: Mapping[str, Component]
    critic: Component
    frames: int
    height: int
    width: int
    text_length: int
    sampling: Sampling
    critic_size: tuple[int, int]
    perceptual_size: tuple[int, int]


class RandomModel:
    """Stands where a model folder stands; the same component is the same every time it is made."""

    path = None

    def __init__(self, size: Size, made_on: torch.device | None = None) -> None:
        """Networks of a size.

        Args:
            made_on: the device that draws the weights, by default the one that each is asked for
                on; drawing 19 billion takes a CPU minutes.
        """
        self.size, self.made_on = size, made_on

    def __contains__(self, name: str) -> bool:
        return name in self.size.components

    def load(self, name: str, **options: Any) -> Any:
        """The tokenizer of the bundled model, made longer: `name` must be `tokenizer`."""
        from sparks.pocket.training.models import tokenizer

        assert name == "tokenizer"
        made = tokenizer()
        made.model_max_length = self.size.text_length
        return made

    def load_frozen(self, name: str, device: torch.device, dtype: torch.dtype) -> Any:
        """Component `name` with random weights, frozen."""
        return build(self.size.components[name], name, self.made_on or device, dtype).to(device)


def build(component: Component, name: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A frozen random network; `name` seeds it."""
    torch.manual_seed(zlib.crc32(name.encode()))
    network = component.build(device, dtype)
    if name == "transformer":
        _liven(network)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _liven(transformer: torch.nn.Module) -> None:
    # Fresh modulation tables are near zero: audio and text would hardly be heard.
    for name, parameter in transformer.named_parameters():
        if "scale_shift_table" in name:
            parameter.normal_(std=0.3)


def save(model: RandomModel, folder: Path) -> None:
    """Write the networks that an iteration uses as files, in the format they are loaded from."""
    for name in ("transformer", "vae", "audio_vae", "vocoder"):
        model.load_frozen(name, torch.device("cpu"), torch.float32).save_pretrained(folder / name)


def critic_parts(size: Size, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    """A random critic network, and the tokenizer of the bundled one."""
    from transformers import AutoTokenizer

    from sparks.pocket import weights_path

    tokenizer = AutoTokenizer.from_pretrained(Path(weights_path()) / "critic")
    identity = tokenizer.convert_tokens_to_ids
    config = {
        **size.critic.config,
        "image_token_id": identity("<|image_pad|>"),
        "video_token_id": identity("<|video_pad|>"),
        "vision_start_token_id": identity("<|vision_start|>"),
    }
    return build(replace(size.critic, config=config), "critic", device, dtype), tokenizer


def clip(size: Size) -> Clip:
    """A moving gradient with a tone."""
    fps = Fraction(25)
    time = torch.linspace(0, 1, size.frames)[:, None, None, None]
    rows, columns = torch.linspace(0, 1, size.height), torch.linspace(0, 1, size.width)
    shades = torch.tensor([0.2, 0.5, 0.8])[None, :, None, None]
    frames = shades + 0.2 * torch.sin(6 * (rows[:, None] + time) + 3 * columns)
    clock = torch.arange(round(size.frames / fps * 16_000)) / 16_000
    return Clip(frames.float(), fps, 0.3 * torch.sin(3000 * clock).expand(2, -1), 16_000)


def _scaled(*, width: int, layers: int, channels: int, audio: int, text: int) -> dict[str, Any]:
    """LTX-2.3 with fewer of everything, in the proportions of the real one."""
    transformer = {
        **LTX_23["transformer"].config,
        "num_attention_heads": width // 64,
        "attention_head_dim": 64,
        "cross_attention_dim": width,
        "audio_in_channels": 16 * audio,
        "audio_out_channels": 16 * audio,
        "audio_num_attention_heads": width // 64,
        "audio_attention_head_dim": 32,
        "audio_cross_attention_dim": width // 2,
        "num_layers": layers,
        "caption_channels": text,
    }
    vae = {
        **LTX_23["vae"].config,
        "block_out_channels": (channels, 2 * channels, 4 * channels, 4 * channels),
        "decoder_block_out_channels": (channels, 2 * channels, 2 * channels, 4 * channels),
    }
    vocoder = {"hidden_channels": 64 * audio, "bwe_hidden_channels": 32 * audio}
    connectors = {
        **LTX_23["connectors"].config,
        "caption_channels": text,
        "text_proj_in_factor": 3,
        "video_connector_num_attention_heads": width // 64,
        "video_connector_attention_head_dim": 64,
        "video_connector_num_layers": 1,
        "video_connector_num_learnable_registers": 16,
        "audio_connector_num_attention_heads": width // 64,
        "audio_connector_attention_head_dim": 32,
        "audio_connector_num_layers": 1,
        "audio_connector_num_learnable_registers": 16,
        "video_hidden_dim": width,
        "audio_hidden_dim": width // 2,
    }
    gemma = {
        "text_config": {
            "hidden_size": text,
            "intermediate_size": 2 * text,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": text // 2,
            "sliding_window": 128,
            "vocab_size": 512,
        },
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
    }
    parts = {
        "transformer": transformer,
        "vae": vae,
        "audio_vae": {"base_channels": 16 * audio, "latent_channels": audio},
        "vocoder": vocoder,
        "connectors": connectors,
        "text_encoder": gemma,
    }
    return {
        name: Component(LTX_23[name].module, LTX_23[name].name, config, 0)
        for name, config in parts.items()
    }


def _qwen(hidden: int, layers: int, vision: int, depth: int) -> Component:
    text = {
        **QWEN_7B.config["text_config"],
        "hidden_size": hidden,
        "intermediate_size": 5 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": max(1, hidden // 256),
        "vocab_size": 4096,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e6,
            "mrope_section": [8, 12, 12],
        },
    }
    tower = {
        **QWEN_7B.config["vision_config"],
        "depth": depth,
        "hidden_size": vision,
        "intermediate_size": 3 * vision,
        "num_heads": vision // 32,
        "fullatt_block_indexes": [depth - 1],
        "out_hidden_size": hidden,
    }
    config = {"text_config": text, "vision_config": tower}
    return Component(QWEN_7B.module, QWEN_7B.name, config, 0)


SIZES = {
    "tiny": Size(
        components=_scaled(width=128, layers=2, channels=8, audio=1, text=64),
        critic=_qwen(128, 2, 64, 2),
        frames=89,
        height=32,
        width=64,
        text_length=32,
        sampling=Sampling(num_inference_steps=4, grad_steps=2, checkpointing=True),
        critic_size=(28, 28),
        perceptual_size=(64, 64),
    ),
    "small": Size(
        components=_scaled(width=512, layers=8, channels=32, audio=2, text=128),
        critic=_qwen(256, 4, 128, 4),
        frames=89,
        height=64,
        width=96,
        text_length=128,
        sampling=Sampling(checkpointing=True),
        critic_size=(56, 56),
        perceptual_size=(64, 64),
    ),
    "ltx-2.3": Size(
        components=LTX_23,
        critic=QWEN_7B,
        frames=89,
        height=320,
        width=512,
        text_length=1024,
        sampling=Sampling(checkpointing=True),
        critic_size=(224, 224),
        perceptual_size=(256, 256),
    ),
}
