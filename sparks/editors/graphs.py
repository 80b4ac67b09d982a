"""A denoiser forward without gradient, recorded once as a CUDA graph and replayed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Forward = Callable[..., tuple[Tensor, Tensor]]
_WARM_UPS = 2  # before recording, so that libraries and compilers have made their choices


class Replayed:
    """Calls `forward` with tensors by keyword; the same shapes replay the same graph.

    Args:
        forward: returns two tensors; must not wait for the host inside, and reads nothing that
            changes but its arguments.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self._graphs: dict[Any, _Graph] = {}

    def __call__(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Any:
        """The two outputs, copied out of the graph's own memory.

        Args:
            tensors: what changes from call to call.
            constants: everything else; tensors among it must be the same objects each time.
        """
        key = _key(tensors, constants)
        if key not in self._graphs:
            self._graphs.clear()  # each holds the memory of a whole forward
            self._graphs[key] = self._record(tensors, constants)
        return self._graphs[key].replay(tensors)

    def _record(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> "_Graph":
        inputs = {name: value.clone() for name, value in tensors.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self.forward(**inputs, **constants)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.forward(**inputs, **constants)
        return _Graph(graph, inputs, constants, outputs)


@dataclass(frozen=True)
class _Graph:
    """A recorded forward with the memory that it reads, the constants' included, and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Mapping[str, Tensor]
    constants: Mapping[str, Any]
    outputs: tuple[Tensor, Tensor]

    def replay(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        for name, value in tensors.items():
            self.inputs[name].copy_(value)
        self.graph.replay()
        video, audio = self.outputs
        return video.clone(), audio.clone()


def _key(tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Any:
    """What calls have in common that one graph can serve: shapes, and the very same constants."""
    shapes = tuple((name, value.shape, value.dtype) for name, value in tensors.items())
    rest = {k: id(v) if isinstance(v, Tensor) else str(v) for k, v in constants.items()}
    return shapes, tuple(rest.items())
