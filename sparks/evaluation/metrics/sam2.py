"""SAM 2 of transformers as a finder of the subject: what moves is its prompt."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparks.models.machine import default_device
from sparks.models.weights import find
from sparks.models.whole import load_network, readable
from sparks.search.metrics import Unavailable

EXAMPLE = "facebook/sam2.1-hiera-tiny"


class Sam2:
    """A frozen `Sam2VideoModel`.

    Args:
        model: a folder written by `save_pretrained`, or a hub id whose files are on this machine.

    Raises:
        Unavailable: it is not.
        SparksError: its files cannot be read.
    """

    def __init__(self, model: str) -> None:
        folder = find(model)
        if folder is None:
            raise Unavailable(
                f"no SAM 2 at {model!r}; give a folder written by save_pretrained, or fetch one, "
                f"e.g. with: hf download {EXAMPLE}"
            )
        self.processor, self.network = _load(folder, str(default_device()))

    def follow(self, frames: Tensor, moving: NDArray[np.bool_]) -> Tensor:
        """The subject in `frames [T, 3, H, W]`, `[T, H, W]` bool.

        It is pointed out in the frame where most moves, by the box around what moves there, and
        followed from there to both ends. `moving [T, h, w]` may be of another size.
        """
        where = int(moving.sum((1, 2)).argmax())
        count, _, height, width = frames.shape
        if not moving[where].any():
            return torch.zeros(count, height, width, dtype=torch.bool)
        session = self.processor.init_video_session(
            video=list(frames.mul(255).round().byte().cpu()), inference_device=self.network.device
        )
        self.processor.add_inputs_to_inference_session(
            session,
            frame_idx=where,
            obj_ids=1,
            input_boxes=[[_box(moving[where], height, width)]],
            original_size=(height, width),
        )
        with torch.no_grad():
            return self._propagate(session, where, (height, width), count)

    def _propagate(self, session: Any, where: int, size: tuple[int, int], count: int) -> Tensor:
        found = torch.zeros(count, *size, dtype=torch.bool)
        self.network(inference_session=session, frame_idx=where)
        for backwards in (False, True):
            for output in self.network.propagate_in_video_iterator(
                session, start_frame_idx=where, reverse=backwards
            ):
                (mask,) = self.processor.post_process_masks(
                    [output.pred_masks], original_sizes=[size], binarize=True
                )
                found[output.frame_idx] = mask.flatten(0, -3).any(0).cpu()
        return found


@lru_cache(maxsize=1)
def _load(folder: Path, device: str) -> tuple[Any, Any]:
    import transformers

    with readable(folder, "SAM 2"):
        processor = transformers.Sam2VideoProcessor.from_pretrained(folder)
    network = load_network(transformers.Sam2VideoModel, folder, "SAM 2")
    return processor, network.to(device).eval().requires_grad_(False)


def _box(moving: NDArray[np.bool_], height: int, width: int) -> list[float]:
    """x, y of the first and last pixel that moves, at the size of the frames."""
    rows, columns = (np.flatnonzero(moving.any(axis)) for axis in (1, 0))
    down, across = height / moving.shape[0], width / moving.shape[1]
    return [
        float(columns[0] * across),
        float(rows[0] * down),
        float((columns[-1] + 1) * across),
        float((rows[-1] + 1) * down),
    ]
