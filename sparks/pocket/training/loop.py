"""One training loop for every stage: warm-up and cosine decay, averaged weights, exact resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from sparks.errors import SparksError
from sparks.files import replacing
from sparks.pocket.training import fast, parallel
from sparks.pocket.training.optimisers import optimisers

EMA = 0.999
WARMUP = 0.03  # of the run
SAVE_EVERY = 60.0  # seconds
CPU = torch.device("cpu")
LOOK_EVERY = 10  # steps, at the clock


@dataclass(frozen=True)
class Course:
    """How a stage is trained.

    Attributes:
        folder: of its state, to go on from.
        steps: so many, or fewer if `minutes` of training run out.
        minutes: over all starts.
        batch: of a step.
        seed: of all that is drawn.
    """

    folder: Path
    steps: int
    minutes: float = math.inf
    device: torch.device = CPU
    batch: int = 1
    seed: int = 0


def fit(
    name: str,
    modules: Iterable[nn.Module],
    loss: Callable[[int], Tensor],
    course: Course,
    *,
    learning_rate: float = 6e-4,
    matrix_rate: float | None = None,
    weight_decay: float = 0.01,
) -> None:
    """Minimise `loss(step)` over the modules' parameters, then leave the averaged weights in them.

    The state is saved in the course's folder every minute and at the end; a run that finds it goes
    on from there. `loss` must draw its data from the number that it is given alone, so that
    resuming repeats nothing; processes that train together give it different numbers (`parallel`).

    Args:
        learning_rate, matrix_rate: at their highest; see `optimisers`.

    Raises:
        SparksError: the loss is not finite.
    """
    modules = list(modules)
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in parameters]
    steppers = optimisers(modules, learning_rate, matrix_rate, weight_decay)
    state = _State(course.folder / f"{name}.state.pt", parameters, average, steppers)
    step, minutes = state.load()
    saved, value, spent = time.monotonic(), None, 0.0
    began = saved - 60 * minutes
    with fast.plain_attention(course.device), _progress() as bar:
        task = bar.add_task(name, total=course.steps, completed=step, loss="")
        while step < course.steps:
            if step % LOOK_EVERY == 0 or value is None:
                spent = (time.monotonic() - began) / (60 * course.minutes)
                spent = parallel.agreed(spent, parameters[0].device)
            if spent >= 1:
                break
            value = loss(step * parallel.size() + parallel.rank())
            _descend(value, parameters, steppers, max(step / course.steps, spent))
            decay = min(EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
            step += 1
            if step % 50 == 0:
                _report(bar, task, name, step, _finite(value, name, step, state.path))
            if time.monotonic() - saved > SAVE_EVERY:
                _finite(value, name, step, state.path)
                saved = time.monotonic()
                state.save(step, (saved - began) / 60)
    if value is not None:
        _finite(value, name, step, state.path)
        state.save(step, (time.monotonic() - began) / 60)
    with torch.no_grad():
        torch._foreach_copy_([p.detach() for p in parameters], average)


def made_once(
    path: Path, make: Callable[[], dict[str, Any]], device: torch.device
) -> dict[str, Any]:
    """What `path` holds from an earlier start of the training; else what is made, and put there."""
    if not path.is_file():
        made = make()
        with replacing(path) as temporary:
            torch.save(made, temporary)
    return dict(torch.load(path, map_location=device, weights_only=True))


def generator(step: int, device: torch.device, salt: int = 0) -> torch.Generator:
    """The stream of random numbers of one training step."""
    return torch.Generator(device).manual_seed(salt * 1_000_003 + step)


def _descend(
    value: Tensor, parameters: list[nn.Parameter], steppers: Iterable[Optimizer], progress: float
) -> None:
    """One step down, at the rates of this share of the run."""
    share = min(1.0, progress / WARMUP + 1e-3)
    share *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    for parameter in parameters:
        parameter.grad = None
    value.backward()
    parallel.average_gradients(parameters)
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = share * stepper.defaults["lr"]
        stepper.step()


def _finite(value: Tensor, name: str, step: int, path: Path) -> float:
    loss = float(value.detach())
    if not math.isfinite(loss):
        raise SparksError(
            f"{name}: loss is {loss} at step {step}; go on from the state or delete it: {path}"
        )
    return loss


@dataclass(frozen=True)
class _State:
    """All that a run goes on from, and its file."""

    path: Path
    parameters: list[nn.Parameter]
    average: list[Tensor]
    steppers: list[Optimizer]

    def save(self, step: int, minutes: float) -> None:
        if parallel.rank() > 0:
            return
        state = {
            "step": step,
            "minutes": minutes,
            "parameters": [p.detach() for p in self.parameters],
            "average": self.average,
            "steppers": [stepper.state_dict() for stepper in self.steppers],
        }
        with replacing(self.path) as temporary:
            torch.save(state, temporary)

    def load(self) -> tuple[int, float]:
        """Steps and minutes done so far."""
        if not self.path.exists():
            return 0, 0.0
        device = self.parameters[0].device
        state = torch.load(self.path, map_location=device, weights_only=True)
        with torch.no_grad():
            torch._foreach_copy_([p.detach() for p in self.parameters], state["parameters"])
            torch._foreach_copy_(self.average, state["average"])
        for stepper, saved in zip(self.steppers, state["steppers"], strict=True):
            stepper.load_state_dict(saved)
        return int(state["step"]), float(state["minutes"])


def _report(bar: Progress, task: TaskID, name: str, step: int, loss: float) -> None:
    bar.update(task, completed=step, loss=f"loss {loss:.4f}")
    if not bar.console.is_terminal and step % 500 == 0:
        bar.console.print(f"{name} {step} loss {loss:.5f}")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
        console=Console(stderr=True, quiet=parallel.rank() > 0),
    )
