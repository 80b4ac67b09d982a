"""Which of the exact levers pay on this device: measured once, then remembered in a file.

Attention and compilation compute the same whatever is chosen, but how fast each is differs between
devices, releases of torch and sizes of model. What a user left open is timed on the forward pass
that the edit is going to run, and the answer is kept beside the name of everything it depends on.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sparks.editors.levers import LTX2Levers
from sparks.errors import SparksError
from sparks.files import place, read_json, write_text
from sparks.models.machine import device_name

if TYPE_CHECKING:
    from diffusers import LTX2VideoTransformer3DModel

# Compiling takes longer than a whole edit with a smaller denoiser.
WORTH_COMPILING = 1_000_000_000
_REPEATS = 2


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes:
        levers: those that were open, by name.
        seconds: of one forward pass under each set that runs here.
    """

    levers: dict[str, Any]
    seconds: dict[str, float]


def path() -> Path:
    """Where choices are remembered.

    Raises:
        SparksError: nobody knows where home is.
    """
    return place(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sparks" / "levers.json"


def remembered() -> dict[str, Choice]:
    """All choices by what they were made for; none where the file cannot be read."""
    try:
        choices = read_json(path())
        return {key: Choice(each["levers"], each["seconds"]) for key, each in choices.items()}
    except (SparksError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def situation(
    transformer: "LTX2VideoTransformer3DModel", tokens: int, dtype: torch.dtype, storage: str
) -> str:
    """Everything that a choice depends on, for people too."""
    config, device = transformer.config, transformer.proj_in.weight.device
    width = config.num_attention_heads * config.attention_head_dim
    return (
        f"{device_name(device)}, torch {torch.__version__}, diffusers {version('diffusers')}, "
        f"{config.num_layers} blocks of {width}, {tokens} tokens, "
        f"{str(dtype).removeprefix('torch.')}, {storage}"
    )


def choose(
    levers: LTX2Levers,
    key: str,
    parameters: int,
    trial: Callable[[LTX2Levers], Callable[[], Any]],
) -> LTX2Levers:
    """`levers` with what they left open decided, by memory or by measuring.

    Args:
        levers: what the user said.
        key: the `situation`.
        parameters: of the denoiser, as far as its weights stay where they are.
        trial: makes a forward pass under some levers.
    """
    choices = remembered()
    if key not in choices:
        choices[key] = _measure(parameters, trial)
        with contextlib.suppress(SparksError):  # it will be measured again
            text = json.dumps({name: vars(each) for name, each in choices.items()}, indent=1)
            write_text(path(), text + "\n")
    settled: dict[str, Any] = {name: choices[key].levers[name] for name in levers.open}
    return replace(levers, **settled)


def _measure(parameters: int, trial: Callable[[LTX2Levers], Callable[[], Any]]) -> Choice:
    tried: dict[LTX2Levers, float] = {}

    def quickest(candidate: LTX2Levers) -> LTX2Levers:
        tried[candidate] = _seconds(trial, candidate)
        return min(tried, key=lambda each: tried[each])

    best = quickest(replace(LTX2Levers().closed, attention="native"))
    if parameters >= WORTH_COMPILING:
        best = quickest(replace(best, compile=True, joined_projections=True))
        best = quickest(replace(best, cuda_graphs=True))
    # The last: while the device waits for the host, attention of any kind takes as long.
    best = quickest(replace(best, attention="_native_cudnn"))
    return Choice(
        {name: getattr(best, name) for name in LTX2Levers().open},
        {_name(each): seconds for each, seconds in tried.items() if seconds < math.inf},
    )


def _name(levers: LTX2Levers) -> str:
    switches = ("compile", "cuda_graphs")
    on = [name for name in switches if getattr(levers, name)]
    return ", ".join([f"attention={levers.attention}", *on])


@torch.no_grad()
def _seconds(trial: Callable[[LTX2Levers], Callable[[], Any]], levers: LTX2Levers) -> float:
    """Of one forward pass, the best of a few; infinite where these levers do not run here."""
    try:
        forward = trial(levers)
        forward()  # compiles, and lets libraries make their choices
        return min(_once(forward) for _ in range(_REPEATS))
    except Exception:  # backends and compilers fail in every way there is
        return math.inf


def _once(forward: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    forward()
    torch.cuda.synchronize()
    return time.perf_counter() - start
