"""One training loop for every stage: warm-up and cosine decay, averaged weights, exact resume."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from sparks.errors import SparksError
from sparks.pocket.training import fast, parallel
from sparks.pocket.training.optimisers import optimisers

EMA = 0.999
WARMUP = 0.03  # of the run
SAVE_EVERY = 60.0  # seconds
LOOK_EVERY = 10  # steps, at the clock


@dataclass(frozen=True)
class Budget:
    """How long a stage trains: so many steps, or less if `minutes` of this process run out."""

    steps: int
    minutes: float = math.inf


def fit(
    name: str,
    modules: Iterable[nn.Module],
    loss: Callable[[int], Tensor],
    folder: Path,
    budget: Budget,
    *,
    learning_rate: float = 6e-4,
    matrix_rate: float | None = None,
    weight_decay: float = 0.01,
) -> None:
    """Minimise `loss(step)` over the modules' parameters, then leave the averaged weights in them.

    The state is saved under `folder` every minute and at the end; a run that finds it goes on from
    there. `loss` must draw its data from the number that it is given alone, so that resuming
    repeats nothing; processes that train together give it different numbers (`parallel`).

    Args:
        learning_rate, matrix_rate: at their highest; see `optimisers`.

    Raises:
        SparksError: the loss is not finite.
    """
    modules = list(modules)
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    steppers = optimisers(modules, learning_rate, matrix_rate, weight_decay)
    average = [p.detach().clone() for p in parameters]
    path = folder / f"{name}.state.pt"
    step = first = _resume(path, parameters, average, steppers)
    began = saved = time.monotonic()
    spent, smooth = 0.0, math.nan
    with fast.plain_attention(), _progress() as bar:
        task = bar.add_task(name, total=budget.steps, completed=step, loss="")
        while step < budget.steps:
            if step % LOOK_EVERY == 0 or step == first:
                spent = (time.monotonic() - began) / (60 * budget.minutes)
                spent = parallel.agreed(spent, parameters[0].device)
            if spent >= 1:
                break
            _set_rates(steppers, max(step / budget.steps, spent))
            value = loss(step * parallel.size() + parallel.rank())
            for parameter in parameters:
                parameter.grad = None
            value.backward()
            parallel.average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for stepper in steppers:
                stepper.step()
            decay = min(EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
            step += 1
            if step % 50 == 0:
                smooth = float(value.detach())
                if not math.isfinite(smooth):
                    raise SparksError(
                        f"{name}: loss is {smooth} at step {step}; delete {path} and retry"
                    )
                bar.update(task, completed=step, loss=f"loss {smooth:.4f}")
                if not bar.console.is_terminal and step % 500 == 0:
                    bar.console.print(f"{name} {step}/{budget.steps} loss {smooth:.5f}")
            if time.monotonic() - saved > SAVE_EVERY:
                _save(path, step, parameters, average, steppers)
                saved = time.monotonic()
    _save(path, step, parameters, average, steppers)
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)


def generator(step: int, device: torch.device, salt: int = 0) -> torch.Generator:
    """The stream of random numbers of one training step."""
    return torch.Generator(device).manual_seed(salt * 1_000_003 + step)


def _set_rates(steppers: Iterable[Optimizer], progress: float) -> None:
    share = min(1.0, progress / WARMUP + 1e-3)
    share *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = share * stepper.defaults["lr"]


def _save(
    path: Path,
    step: int,
    parameters: list[nn.Parameter],
    average: list[Tensor],
    steppers: Sequence[Optimizer],
) -> None:
    if parallel.rank() > 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "parameters": [p.detach() for p in parameters],
        "average": average,
        "steppers": [stepper.state_dict() for stepper in steppers],
    }
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _resume(
    path: Path,
    parameters: list[nn.Parameter],
    average: list[Tensor],
    steppers: Sequence[Optimizer],
) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location=parameters[0].device, weights_only=True)
    with torch.no_grad():
        for parameter, mean, saved, kept in zip(
            parameters, average, state["parameters"], state["average"], strict=True
        ):
            parameter.copy_(saved)
            mean.copy_(kept)
    for stepper, saved in zip(steppers, state["steppers"], strict=True):
        stepper.load_state_dict(saved)
    return int(state["step"])


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=Console(stderr=True, quiet=parallel.rank() > 0),
    )
