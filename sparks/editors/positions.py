"""Rotary embeddings that are computed once per shape."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

_ROTARY = ("rope", "audio_rope", "cross_attn_rope", "cross_attn_audio_rope")
_KEPT = 8  # shapes remembered


class Positions:
    """Coordinates of video and audio tokens, and memory of the embeddings made from them.

    Args:
        transformer: whose rotary modules are used.
        cached: remember coordinates and embeddings by shape.
    """

    def __init__(self, transformer: "LTX2VideoTransformer3DModel", *, cached: bool) -> None:
        self.transformer, self.cached = transformer, cached
        self._known: dict[Any, dict[str, Tensor]] = {}
        for name in _ROTARY:
            module = getattr(transformer, name)
            module.__dict__.pop("forward", None)  # an earlier memory
            if cached:
                module.forward = _Remembering(module.forward)

    def __call__(
        self, batch: int, shape: tuple[int, int, int], length: int, fps: float, dtype: str
    ) -> dict[str, Tensor]:
        """`video_coords` `[B, 3, N, 2]` in the named dtype and `audio_coords` `[B, 1, L, 2]`."""
        key = (batch, shape, length, fps, dtype)
        if key in self._known:
            return self._known[key]
        model, device = self.transformer, self.transformer.proj_in.weight.device
        video = model.rope.prepare_video_coords(batch, *shape, device, fps=fps)
        coordinates = {
            "video_coords": video.to(getattr(torch, dtype)),
            "audio_coords": model.audio_rope.prepare_audio_coords(batch, length, device),
        }
        if self.cached:
            _bounded(self._known)[key] = coordinates
        return coordinates


class _Remembering:
    """A rotary module's forward that answers from memory where it was asked the same before."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward
        self.known: dict[Any, tuple[Tensor, Any]] = {}

    def __call__(self, coords: Tensor, device: Any = None) -> Any:
        # The address tells coordinates apart: those remembered are kept alive and never change.
        key = (coords.data_ptr(), coords.shape, coords.stride(), coords.dtype)
        if key not in self.known:
            _bounded(self.known)[key] = (coords, self.forward(coords, device=device))
        return self.known[key][1]


def _bounded(remembered: dict[Any, Any]) -> dict[Any, Any]:
    while len(remembered) >= _KEPT:
        remembered.pop(next(iter(remembered)))
    return remembered
