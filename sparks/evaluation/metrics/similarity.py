"""How far the edit is from its source, over the whole picture and over the background alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparks.evaluation.metrics.masks import subject
from sparks.models.machine import default_device
from sparks.models.weights import find
from sparks.search.metrics import Edited, Figure, Measurement, Unavailable

BATCH = 8  # frames at once
SHARES = {"bg_lpips": 0.5, "bg_ms_ssim": 0.3, "bg_l1": 0.2}  # of D_bg, Eq. S8
WINDOW, SCALES = 11, 5  # of MS-SSIM


class L1:
    """Mean absolute difference from the source."""

    group = "preservation"
    figures = {"l1": Figure("L1 to the source", ".4f", "lower")}

    def measure(self, edited: Edited) -> Measurement:
        """Needs no weights."""
        change = (edited.edit.frames - edited.source.frames).abs().mean()
        return Measurement({"l1": float(change)})


class Lpips:
    """LPIPS to the source, a mean over frames."""

    group = "perceptual"
    figures = {"lpips": Figure("LPIPS to the source", ".4f", "lower")}

    def measure(self, edited: Edited) -> Measurement:
        """On AlexNet, or on the trunk that a small model brings."""
        distance, name = perceptual(edited)
        found = _batched(
            lambda a, b: _distance(distance, a, b).mean((1, 2, 3)),
            *(edited.edit.frames, edited.source.frames),
        )
        return Measurement({"lpips": float(found.mean())}, {"lpips": name})


class MsSsim:
    """Multi-scale structural similarity to the source, a mean over frames."""

    group = "perceptual"
    figures = {"ms_ssim": Figure("MS-SSIM to the source", ".4f", "higher")}

    def measure(self, edited: Edited) -> Measurement:
        """With a smaller window where the picture is too small for five scales of the usual."""
        found = _batched(ms_ssim, edited.edit.frames, edited.source.frames)
        return Measurement({"ms_ssim": float(found.mean())}, {"ms_ssim": _window_of(edited)})


class Background:
    """D_bg = 0.5 LPIPS + 0.3 (1 - MS-SSIM) + 0.2 l1 of the background (Eq. S8).

    The subject of source and edit is cut out of both: there, the edit is given the source's
    pixels, and distances are divided by the share of the background. The paper brings D_bg to
    0..10 within a scenario: that is a step of its own, `normalised`.
    """

    group = "perceptual"
    figures = {
        "d_bg": Figure("D_bg", ".4f", "lower"),
        "bg_lpips": Figure("LPIPS, background", ".4f", "lower"),
        "bg_ms_ssim": Figure("1 - MS-SSIM, background", ".4f", "lower"),
        "bg_l1": Figure("L1, background", ".4f", "lower"),
    }

    def measure(self, edited: Edited) -> Measurement:
        """None where there is no background."""
        distance, name = perceptual(edited)
        mask, how = subject(edited)
        using = {"lpips": name, "mask": how, "ms_ssim": _window_of(edited)}
        outside = (~mask).float().mean((1, 2))
        if not (outside > 0).any():
            return Measurement(dict.fromkeys(self.figures), using)
        source = edited.source.frames
        edit = torch.where(mask[:, None], source, edited.edit.frames)
        measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "bg_lpips": lambda a, b: _distance(distance, a, b).mean((1, 2, 3)),
            "bg_ms_ssim": lambda a, b: 1 - ms_ssim(a, b),
            "bg_l1": lambda a, b: (a - b).abs().mean((1, 2, 3)),
        }
        seen = outside > 0
        parts = {
            name: float((_batched(m, edit, source)[seen] / outside[seen]).mean())
            for name, m in measures.items()
        }
        total = sum(share * parts[name] for name, share in SHARES.items())
        return Measurement({"d_bg": total, **parts}, using)


def normalised(values: dict[str, float]) -> dict[str, float]:
    """Distances of the methods on one scenario, brought to 0 (the least) to 10 (the greatest)."""
    low, high = min(values.values()), max(values.values())
    return {
        name: 10 * (value - low) / (high - low) if high > low else 0.0
        for name, value in values.items()
    }


def perceptual(edited: Edited) -> tuple[Any, str]:
    """An `lpips.LPIPS` and its name: of `edited.using["lpips"]`, the model's own, or AlexNet's.

    Raises:
        Unavailable: it is not on this machine.
    """
    asked = edited.using.get("lpips")
    folder = edited.model if asked is None else find(asked)
    if folder is not None and (folder / "perceptual").is_dir():
        return _own(folder), f"the trunk in {folder.name}/perceptual"
    if asked not in (None, "alex"):
        raise Unavailable(f"no perceptual trunk at {asked!r}; give a model folder that has one")
    return _alex(torch.hub.get_dir()), "AlexNet"


@lru_cache(maxsize=1)
def _own(folder: Path) -> Any:
    from sparks.pocket.perceptual import load_perceptual

    return load_perceptual(folder / "perceptual").to(default_device())


@lru_cache(maxsize=1)
def _alex(hub: str) -> Any:
    import lpips

    trunk = Path(hub) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    if not trunk.is_file():
        raise Unavailable(
            f"LPIPS needs AlexNet at {trunk}; fetch it with python -c 'import lpips; lpips.LPIPS()'"
            ", or name a model folder with a trunk: --with lpips=FOLDER"
        )
    return lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False).to(default_device())


def _distance(distance: Any, first: Tensor, second: Tensor) -> Tensor:
    """`[N, 1, 1, 1]` of images in [0, 1]."""
    device = default_device()
    with torch.no_grad():
        found: Tensor = distance(first.to(device), second.to(device), normalize=True)
    return found.cpu()


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """`[N]` of images `[N, 3, H, W]` in [0, 1].

    Raises:
        Unavailable: pytorch-msssim is not installed, or the picture is too small for five scales.
    """
    try:
        from pytorch_msssim import ms_ssim as of
    except ImportError as error:
        raise Unavailable(
            "MS-SSIM needs pytorch-msssim; pip install 'sound-sparks[evaluation]'"
        ) from error
    window = _window(first)
    found: Tensor = of(first, second, data_range=1.0, size_average=False, win_size=window)
    return found


def _window(images: Tensor) -> int:
    """The largest odd window up to WINDOW that still fits at the smallest scale."""
    side = min(images.shape[-2:])
    fits = [size for size in range(3, WINDOW + 1, 2) if side > (size - 1) * 2 ** (SCALES - 1)]
    if not fits:
        raise Unavailable(f"MS-SSIM needs pictures of 33 pixels or more a side, not {side}")
    return fits[-1]


def _window_of(edited: Edited) -> str:
    size = _window(edited.edit.frames)
    return f"window of {size}" if size == WINDOW else f"window of {size}, as the picture is small"


def _batched(measure: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor) -> Tensor:
    pairs = zip(first.split(BATCH), second.split(BATCH), strict=True)
    return torch.cat([measure(a, b) for a, b in pairs])
