"""The bundled default: a small LTX-2.3-architecture model and the world it was trained on."""

from __future__ import annotations

from pathlib import Path


def weights_path() -> Path:
    """The model folder, in diffusers format; `critic` and `perceptual` stand beside the parts."""
    return Path(__file__).parent / "weights"
