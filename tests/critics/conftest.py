from pathlib import Path

import pytest
import torch

from sparks.critics.qwen import QUESTION, QwenCritic
from sparks.pocket import contrast_model
from sparks.pocket.critic_model import build_model, build_tokenizer, save

PROMPTS = ("a red ball jumps", "the blue box slides left", "a green triangle grows")
STILL, OTHER = "a red ball stays still", "a red ball spins"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2.5-VL whose weights are large enough for the answer to vary."""
    path = tmp_path_factory.mktemp("critic")
    tokenizer = build_tokenizer([QUESTION.replace("{prompt}", prompt) for prompt in PROMPTS])
    model = build_model(
        tokenizer, hidden=64, layers=2, vision_hidden=64, vision_depth=2, patch_size=16, seed=1
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed_tokens" not in name:
                weight.mul_(3)
    save(path, model, tokenizer)
    return path


@pytest.fixture(scope="session")
def critic(folder: Path) -> QwenCritic:
    return QwenCritic(folder, fps=12.5)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random CLIP and X-CLIP models whose weights are large enough for the answer to vary."""
    tokenizer = contrast_model.build_tokenizer([*PROMPTS, STILL, OTHER])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        models = {
            "clip": contrast_model.build_clip(tokenizer, hidden=32, layers=2),
            "xclip": contrast_model.build_xclip(tokenizer, num_frames=6, hidden=32, layers=2),
        }
    found = {}
    for name, model in models.items():
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.mul_(3)
        found[name] = tmp_path_factory.mktemp(name)
        contrast_model.save(found[name], model, tokenizer)
    return found


@pytest.fixture
def frames() -> torch.Tensor:
    """[2, 25, 3, 64, 64]: two different noisy videos."""
    return torch.rand(2, 25, 3, 64, 64, generator=torch.Generator().manual_seed(0))
