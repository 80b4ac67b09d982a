"""Frame by frame: how near the edit is to its prompt, and to what the source shows."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks.models.machine import default_device
from sparks.models.weights import find
from sparks.search.metrics import Edited, Figure, Measurement, Unavailable

BATCH = 16  # frames at once
FRAMES = 24  # shown to a held-out critic, at most
DEFAULT = "openai/clip-vit-base-patch32"


class Clip:
    """CLIP's cosine similarity of each frame to the edit prompt and to the static prompt.

    The gap is the first less the second; its mean over the second half of the clip shows an edit
    that ends in another state. The curves are kept.
    """

    group = "text"
    figures = {
        "clip_edit": Figure("CLIP to the edit prompt", ".4f", "higher"),
        "clip_static": Figure("CLIP to the static prompt", ".4f"),
        "clip_gap": Figure("CLIP gap", "+.4f", "higher"),
        "clip_gap_late": Figure("CLIP gap, second half", "+.4f", "higher"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """None for a prompt that is not known."""
        folder, name = _folder(edited)
        edit = _similarities(folder, edited.edit.frames, edited.prompt)
        static = _similarities(folder, edited.edit.frames, edited.static_prompt)
        gap = None if edit is None or static is None else edit - static
        late = None if gap is None else gap[len(gap) // 2 :]
        values = dict(zip(self.figures, map(_mean, (edit, static, gap, late)), strict=True))
        curves = {"clip_edit": edit, "clip_static": static, "clip_gap": gap}
        return Measurement(
            values,
            {"clip": name},
            {name: curve.tolist() for name, curve in curves.items() if curve is not None},
        )


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _folder(edited: Edited) -> tuple[Path, str]:
    asked = edited.using.get("clip")
    if asked is None and edited.model is not None and (edited.model / "clip").is_dir():
        return edited.model / "clip", f"CLIP in {edited.model.name}/clip"
    name = asked or DEFAULT
    if (folder := find(name)) is None:
        raise Unavailable(
            f"no CLIP at {name!r}; fetch it with: hf download {DEFAULT}, or give a folder: "
            "--with clip=FOLDER"
        )
    return folder, f"CLIP {name}"


@lru_cache(maxsize=1)
def _critic(folder: Path) -> Any:
    from sparks.critics.contrast import ClipCritic

    return ClipCritic(str(folder), device=default_device())


def _similarities(folder: Path, frames: Tensor, prompt: str | None) -> Tensor | None:
    """Cosines `[T]` of the frames and the prompt."""
    if not prompt:
        return None
    from sparks.critics.contrast import clip_logits

    critic = _critic(folder)
    texts, scale = critic.tokens([prompt]), critic.model.logit_scale.exp()
    parts = (part[:, None].to(critic.model.device) for part in frames.split(BATCH))
    with torch.no_grad():
        found = [clip_logits(critic.model, critic.pixels(part), texts)[0] for part in parts]
    return (torch.cat(found)[:, 0] / scale).cpu()


class HeldOut:
    """P(yes) of a critic of its own, by default the one that a model brings for judging only."""

    group = "text"
    figures = {"p_yes_held_out": Figure("P(yes), held-out critic", ".3f", "higher")}

    def measure(self, edited: Edited) -> Measurement:
        """None for a prompt that is not known."""
        asked, own = edited.using.get("critic"), edited.model and edited.model / "judge"
        if asked is None and (own is None or not own.is_dir()):
            raise Unavailable("no held-out critic; give a folder or hub id: --with critic=FOLDER")
        folder = own if asked is None else find(asked)
        if folder is None:
            raise Unavailable(f"no critic at {asked!r}; give a folder, or fetch the hub id")
        name = asked or f"the critic in {folder.parent.name}/judge"
        if not edited.prompt:
            return Measurement(dict.fromkeys(self.figures), {"critic": name})
        critic = _held_out(folder, float(edited.edit.fps))
        count = len(edited.edit.frames)
        indices = torch.linspace(0, count - 1, min(count, FRAMES)).round().int().tolist()
        with torch.no_grad():
            odds = critic.log_odds(edited.edit.frames[None], edited.prompt, indices)
        return Measurement({"p_yes_held_out": float(odds.sigmoid())}, {"critic": name})


@lru_cache(maxsize=1)
def _held_out(folder: Path, fps: float) -> Any:
    from sparks.critics.qwen import QwenCritic

    return QwenCritic(str(folder), device=default_device(), fps=fps, num_frames=FRAMES)
