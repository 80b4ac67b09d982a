"""Denoiser forwards, and their backward passes, recorded once as CUDA graphs and replayed.

A block is a hundred kernels of some ten microseconds each; asking for them one by one takes the
host longer than the device needs to run them.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Forward = Callable[..., tuple[Tensor, Tensor]]
Pair = tuple[Tensor, Tensor]
_WARM_UPS = 2  # before recording, so that libraries and compilers have made their choices


class Replayed:
    """Calls `forward` with tensors by keyword; the same shapes replay the same graphs.

    With gradient enabled the backward pass is a graph too.

    Args:
        forward: returns two tensors; must not wait for the host inside, and reads nothing that
            changes but its arguments.
        differentiable: names of tensors that a gradient is recorded for whether or not a call asks
            for it, as the first step with gradient does not.
    """

    def __init__(self, forward: Forward, differentiable: Collection[str] = ()) -> None:
        self.forward, self.differentiable = forward, frozenset(differentiable)
        self._graphs: dict[bool, tuple[Hashable, Any]] = {}

    def __call__(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Pair:
        """The two outputs, copied out of the graph's own memory.

        Args:
            tensors: what changes from call to call.
            constants: everything else; tensors among it must be the same objects each time.
        """
        gradient, leaves = torch.is_grad_enabled(), self._leaves(tensors)
        key = (leaves, _key(tensors, constants))
        if gradient not in self._graphs or self._graphs[gradient][0] != key:
            self._graphs.pop(gradient, None)  # each holds the memory of a whole forward
            made = _Step(self.forward, leaves, tensors, constants) if gradient else None
            self._graphs[gradient] = key, made or self._record(tensors, constants)
        outputs: Pair = self._graphs[gradient][1].replay(tensors)
        return outputs

    def _leaves(self, tensors: Mapping[str, Tensor]) -> frozenset[str]:
        if not torch.is_grad_enabled():
            return frozenset()
        return self.differentiable | {name for name, each in tensors.items() if each.requires_grad}

    def _record(self, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Any:
        return _Pass(self.forward, tensors, constants)


def _key(tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Hashable:
    """What calls have in common that one graph can serve: shapes, and the very same constants."""
    shapes = tuple((name, value.shape, value.dtype) for name, value in tensors.items())
    rest = {k: id(v) if isinstance(v, Tensor) else str(v) for k, v in constants.items()}
    return shapes, tuple(rest.items())


class _Pass:
    """A recorded forward without gradient."""

    def __init__(
        self, forward: Forward, tensors: Mapping[str, Tensor], constants: Mapping[str, Any]
    ) -> None:
        self.constants = constants  # the graph reads their memory
        self.inputs = {name: value.clone() for name, value in tensors.items()}
        _warm_up(lambda: forward(**self.inputs, **constants))
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = forward(**self.inputs, **constants)

    def replay(self, tensors: Mapping[str, Tensor]) -> Pair:
        for name, value in tensors.items():
            self.inputs[name].copy_(value)
        self.graph.replay()
        video, audio = self.outputs
        return video.clone(), audio.clone()


class _Step:
    """A recorded forward with gradient, and its backward pass.

    What the backward pass needs lies in the recorded memory, which the next forward writes over:
    it is copied out, and in again before its turn comes.
    """

    def __init__(
        self,
        forward: Forward,
        leaves: Collection[str],
        tensors: Mapping[str, Tensor],
        constants: Mapping[str, Any],
    ) -> None:
        self.constants = constants
        self.inputs = {
            name: value.detach().clone().requires_grad_(name in leaves)
            for name, value in tensors.items()
        }
        self.leaves = [value for value in self.inputs.values() if value.requires_grad]
        _warm_up(lambda: self._backward(forward(**self.inputs, **constants)))
        self.graph, self.back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            outputs = forward(**self.inputs, **constants)
        own = _Memory(self.graph, self.inputs.values())
        self.saved = [each for each in _saved_by(outputs) if each in own]
        self.gradients = [torch.zeros_like(each) for each in outputs]
        with torch.cuda.graph(self.back, pool=self.graph.pool()):
            self.results = self._backward(outputs, self.gradients)
        self.outputs = [each.detach() for each in outputs]

    def replay(self, tensors: Mapping[str, Tensor]) -> Pair:
        video, audio = _Replay.apply(self, *tensors.values())
        return video, audio

    def run(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs, and what `undo` needs."""
        torch._foreach_copy_([each.detach() for each in self.inputs.values()], list(tensors))
        self.graph.replay()
        return [each.clone() for each in self.outputs], [each.clone() for each in self.saved]

    def undo(self, kept: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Iterator[Any]:
        """Gradients of the inputs, in their order."""
        torch._foreach_copy_(self.saved, list(kept))
        for own, given in zip(self.gradients, gradients, strict=True):
            own.zero_() if given is None else own.copy_(given)
        self.back.replay()
        made = iter(self.results)
        for value in self.inputs.values():
            result = next(made) if value.requires_grad else None
            yield None if result is None else result.clone()

    def _backward(self, outputs: Pair, gradients: Sequence[Tensor] | None = None) -> Any:
        given = gradients or [torch.zeros_like(each) for each in outputs]
        return torch.autograd.grad(outputs, self.leaves, given, allow_unused=True)


class _Replay(torch.autograd.Function):
    """Stands in autograd's graph where the recorded step would."""

    @staticmethod
    def forward(ctx: Any, step: _Step, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, ctx.kept = step.run(tensors)
        ctx.step = step
        return tuple(outputs)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        return None, *ctx.step.undo(ctx.kept, gradients)


@dataclass
class _Memory:
    """Where a graph and its inputs lie."""

    graph: torch.cuda.CUDAGraph
    inputs: Any

    def __post_init__(self) -> None:
        pool = self.graph.pool()
        self.ranges = [
            (each["address"], each["address"] + each["total_size"])
            for each in torch.cuda.memory_snapshot()
            if tuple(each["segment_pool_id"]) == tuple(pool)
        ]
        self.addresses = {each.data_ptr() for each in self.inputs}

    def __contains__(self, tensor: Tensor) -> bool:
        address = tensor.data_ptr()
        inside = any(start <= address < end for start, end in self.ranges)
        return inside or address in self.addresses


def _saved_by(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Every tensor that the graph of autograd behind these holds, once."""
    found: dict[Any, Tensor] = {}
    nodes = [each.grad_fn for each in outputs]
    seen = set(nodes)
    while nodes:
        node: Any = nodes.pop()
        for tensor in _held(node):
            found[tensor.data_ptr(), tensor.shape, tensor.stride()] = tensor.detach()
        new = {following for following, _ in node.next_functions if following} - seen
        nodes += new
        seen |= new
    return list(found.values())


def _held(node: Any) -> Iterator[Tensor]:
    """Of the library's own operations, of functions in Python, and of compiled ones."""
    named = (getattr(node, name) for name in dir(node) if name.startswith("_saved_"))
    own = getattr(node, "__dict__", {}).values()
    for each in chain(named, getattr(node, "saved_tensors", ()), own):
        for one in each if isinstance(each, tuple | list) else (each,):
            if isinstance(one, Tensor) and one.numel():
                yield one


def _warm_up(call: Callable[[], Any]) -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UPS):
            call()
    torch.cuda.current_stream().wait_stream(side)
