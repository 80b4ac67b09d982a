"""One editor on several devices of a host: each renders its part of a batch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sparks.editors.controls import Controls
from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.schedule import Sampling

if TYPE_CHECKING:
    from sparks.editors.base import Editor
    from sparks.editors.conditioning import Conditioning


def devices_of(wanted: str | Sequence[str] | None) -> list[str]:
    """The devices that `editor.devices` names; none for one device.

    `auto` is every GPU of this process, if there are several.
    """
    if wanted == "auto":
        wanted = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    devices = [wanted] if isinstance(wanted, str) else list(wanted or ())
    return devices if len(devices) > 1 else []


class SeveralDevices:
    """Copies of one editor that render parts of a batch at the same time.

    Everything else, single candidates among it, is the first one's. Frames come back on its device,
    and so do gradients, equal to those of one device up to the rounding of a smaller batch.

    Args:
        editors: made alike, each on its device.
    """

    def __init__(self, editors: Sequence[Editor[Any]]) -> None:
        self._editors = list(editors)
        self._threads = ThreadPoolExecutor(len(self._editors), "sparks-device")
        self._seen: set[tuple[Any, ...]] = set()
        self.settle = self._settle if self._editors[0].settle is not None else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # as before `__init__`, of a copy
            raise AttributeError(name)
        return getattr(self._editors[0], name)

    @property
    def forwards(self) -> int:
        """Of all devices."""
        return sum(editor.forwards for editor in self._editors)

    @property
    def backwards(self) -> int:
        """Of all devices."""
        return sum(editor.backwards for editor in self._editors)

    def free_text_encoder(self) -> None:
        """Of all devices."""
        for editor in self._editors:
            editor.free_text_encoder()

    def render(
        self,
        conditioning: Conditioning,
        controls: Controls,
        *,
        sampling: Sampling,
        guidance: Guidance = UNGUIDED,
        gradient: bool = False,
    ) -> Tensor:
        """See `sparks.editors.base.Editor.render`."""
        how = {"sampling": sampling, "guidance": guidance, "gradient": gradient}
        count = min(len(self._editors), controls.batch)
        if count == 1:
            return self._editors[0].render(conditioning, controls, **how)  # type: ignore[arg-type]
        renders = []
        with torch.set_grad_enabled(gradient):
            for editor, rows in zip(self._editors, _parts(controls.batch, count), strict=False):
                device = _device(editor, conditioning)
                part = Controls(controls.alpha[rows], controls.delta_v[rows]).to(device)
                moved = conditioning.part(rows, device)
                renders.append(_render(editor, moved, part, device, how))
            frames = self._run(renders, (controls.batch, sampling, guidance, gradient))
            return torch.cat([part.to(conditioning.device) for part in frames])

    def _run(self, renders: list[Callable[[], Tensor]], kind: tuple[Any, ...]) -> list[Tensor]:
        """One after the other the first time, when kernels are compiled and graphs recorded."""
        if kind not in self._seen:
            self._seen.add(kind)
            return [render() for render in renders]
        return list(self._threads.map(lambda render: render(), renders))

    def _settle(
        self, conditioning: Conditioning, sampling: Sampling, before: Any = None
    ) -> dict[str, Any]:
        """The first decides, for all."""
        decided: dict[str, Any] | None = before
        for editor in self._editors:
            moved = conditioning.part(slice(None), _device(editor, conditioning))
            assert editor.settle is not None  # they are made alike
            decided = editor.settle(moved, sampling, decided)
        return decided or {}


def _parts(batch: int, count: int) -> list[slice]:
    ends = [round(batch * part / count) for part in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _device(editor: Any, conditioning: Conditioning) -> torch.device:
    return torch.device(getattr(editor, "device", conditioning.device))


def _render(
    editor: Any, conditioning: Conditioning, controls: Controls, device: torch.device, how: Any
) -> Callable[[], Tensor]:
    """A render to be run in any thread."""

    def render() -> Tensor:
        current = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
        with current:
            frames: Tensor = editor.render(conditioning, controls, **how)
        return frames

    return render
