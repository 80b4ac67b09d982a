"""Seconds of an iteration by stage, by the wall clock with the device waited for."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from flops import synchronise

import sparks.search.scoring
from sparks.critics.qwen import QwenCritic
from sparks.editors.codec import VideoCodec
from sparks.editors.ltx2_runner import LTX2Runner
from sparks.search.objective import Objective
from sparks.solvers.adam import Adam

STAGES = (
    "prefix steps",
    "differentiable steps",
    "decode",
    "critic",
    "LPIPS",
    "critic and LPIPS backward",
    "backward",
    "optimiser",
)


class Stopwatch:
    """Seconds by stage; a stage inside another counts for the outer one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: Counter[str] = Counter()
        self._inside = False

    @contextlib.contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Count the block for a stage."""
        if self._inside:
            yield
            return
        self._inside = True
        synchronise(self.device)
        start = time.perf_counter()
        try:
            yield
        finally:
            synchronise(self.device)
            self.seconds[stage] += time.perf_counter() - start
            self._inside = False

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Time every stage of the iterations inside the block."""
        places: list[tuple[Any, str, Callable[[], str]]] = [
            (LTX2Runner, "__call__", lambda: STAGES[torch.is_grad_enabled()]),
            (VideoCodec, "decode", lambda: "decode"),
            (QwenCritic, "log_odds", lambda: "critic"),
            (Objective, "_lpips", lambda: "LPIPS"),
            (sparks.search.scoring, "_pile_up", lambda: "critic and LPIPS backward"),
            (sparks.search.scoring, "_backward", lambda: "backward"),
            (Adam, "tell", lambda: "optimiser"),
        ]
        with contextlib.ExitStack() as stack:
            for owner, name, stage in places:
                wrapped = self._wrapped(getattr(owner, name), stage)
                stack.enter_context(mock.patch.object(owner, name, wrapped))
            yield

    def _wrapped(self, function: Any, stage: Callable[[], str]) -> Any:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.timing(stage()):
                return function(*arguments, **options)

        return timed
