"""Optional followers of a search in other programs: `listeners: [tensorboard, wandb, trackio]`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from sparks.errors import SparksError
from sparks.search.evaluation import Evaluation
from sparks.settings.schema import Config


class Tracker(Protocol):
    """A listener of `sparks.solve` that is closed when the search is over."""

    def __call__(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""

    def close(self) -> None:
        """Write what is still held."""


def numbers(evaluation: Evaluation, best: Evaluation) -> dict[str, float]:
    """What is followed, by name."""
    return {
        "total": evaluation.total,
        "p_yes": evaluation.p_yes,
        "best/total": best.total,
        "best/p_yes": best.p_yes,
        **{f"losses/{name}": value for name, value in evaluation.losses.terms.items()},
        **{f"cost/{name}": value for name, value in evaluation.cost.items()},
    }


class TensorBoard:
    """Event files in the run directory: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path, config: Config) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / "tensorboard"))
        self.writer.add_text("config", f"```yaml\n{config.dump()}```")

    def __call__(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        for name, value in numbers(evaluation, best).items():
            self.writer.add_scalar(name, value, evaluation.index)
        self.writer.flush()

    def close(self) -> None:
        """Write what is still held."""
        self.writer.close()


class WandB:
    """A run of Weights & Biases, kept in the run directory; online only if WANDB_MODE says so."""

    def __init__(self, folder: Path, config: Config) -> None:
        import wandb

        self.run: Any = wandb.init(
            project="sparks",
            name=folder.name,
            dir=str(folder),
            config=config.model_dump(mode="json"),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def __call__(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        self.run.log(numbers(evaluation, best), step=evaluation.index)

    def close(self) -> None:
        """Write what is still held."""
        self.run.finish()


class Trackio:
    """A run in trackio's local database: `trackio show`."""

    def __init__(self, folder: Path, config: Config) -> None:
        import trackio

        self.trackio: Any = trackio
        trackio.init(project="sparks", name=folder.name, config=config.model_dump(mode="json"))

    def __call__(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        self.trackio.log(numbers(evaluation, best), step=evaluation.index)

    def close(self) -> None:
        """Write what is still held."""
        self.trackio.finish()


_KNOWN: dict[str, Callable[[Path, Config], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}


def check_trackers(names: Sequence[str]) -> None:
    """Find out what is missing before anything is loaded.

    Raises:
        SparksError: an unknown name, or a package that is not installed.
    """
    for name in names:
        if name not in _KNOWN:
            raise SparksError(f"listener {name!r} is unknown; choose from {', '.join(_KNOWN)}")
        if importlib.util.find_spec(name) is None:
            raise SparksError(
                f"listener {name} needs a package: pip install {name}, or leave it out"
            )


def trackers(names: Sequence[str], folder: Path, config: Config) -> list[Tracker]:
    """The trackers of these names for a run in `folder`."""
    check_trackers(names)
    return [_KNOWN[name](folder, config) for name in names]
