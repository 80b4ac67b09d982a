"""What a person sees of a running edit, on standard error."""

import sys
import time
from types import TracebackType
from typing import Any

from sparks.problem import EditProblem, Evaluation


class Silent:
    """Says nothing; the base of the others."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def stage(self, name: str) -> None:
        """A new part of the work begins."""

    def search(self, problem: EditProblem) -> None:
        """The search of `problem` begins."""

    def evaluated(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""


class Lines(Silent):
    """One line per event, for logs."""

    def __init__(self) -> None:
        self.origin = time.perf_counter()
        self.problem: EditProblem | None = None

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        self._print(name)

    def search(self, problem: EditProblem) -> None:
        """The search of `problem` begins."""
        self.problem = problem
        self._print(_plan(problem))

    def evaluated(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        terms = "  ".join(f"{name} {value:.4g}" for name, value in evaluation.losses.terms.items())
        self._print(
            f"evaluation {evaluation.index + 1}{_of(self.problem)}  total {evaluation.total:.4f}  "
            f"{terms}  P(yes) {evaluation.p_yes:.3f}  "
            f"best {best.total:.4f} (P(yes) {best.p_yes:.3f}, evaluation {best.index + 1})"
        )

    def _print(self, text: str) -> None:
        print(f"{time.perf_counter() - self.origin:7.1f}s  {text}", file=sys.stderr, flush=True)


class Panel(Silent):
    """Stages with spinners, a bar with the time left, and a live table of the losses."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        text = TextColumn("{task.description}")
        console = Console(stderr=True)
        spinner = SpinnerColumn(finished_text="[green]✓")
        self.stages = Progress(spinner, text, TimeElapsedColumn(), console=console)
        remaining = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.bar = Progress(text, BarColumn(), *remaining, console=console)
        self.table: Any = None
        self.live = Live(get_renderable=self._view, console=console, refresh_per_second=8)
        self.problem: EditProblem | None = None

    def __enter__(self) -> "Panel":
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._finish_stage()
        self.live.stop()

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        self._finish_stage()
        self.stages.add_task(name, total=1)

    def search(self, problem: EditProblem) -> None:
        """The search of `problem` begins."""
        self.problem = problem
        self.stage(_plan(problem))
        self.task = self.bar.add_task(f"evaluation 0{_of(problem)}", total=1)

    def evaluated(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        if self.problem is None:
            return
        self.bar.update(
            self.task,
            completed=self.problem.meter.progress,
            description=f"evaluation {evaluation.index + 1}{_of(self.problem)}",
        )
        self.table = _table(evaluation, best)

    def _finish_stage(self) -> None:
        for task in self.stages.tasks:
            self.stages.update(task.id, completed=1)

    def _view(self) -> Any:
        from rich.console import Group

        parts = [self.stages, self.bar if self.bar.tasks else None, self.table]
        return Group(*(part for part in parts if part is not None))


def _table(evaluation: Evaluation, best: Evaluation) -> Any:
    from rich.table import Table

    table = Table("", *evaluation.losses.terms, "total", "P(yes)")
    rows = {"now": evaluation, f"best ({best.index + 1})": best}
    for label, each in rows.items():
        terms = (f"{value:.4g}" for value in each.losses.terms.values())
        table.add_row(label, *terms, f"{each.total:.4f}", f"{each.p_yes:.3f}")
    return table


def _plan(problem: EditProblem) -> str:
    kept = problem.conditioning
    return (
        f"searching {problem.dim} numbers within {problem.meter.budget}; "
        f"the first {kept.prefix_frames_kept} frames ({kept.prefix_latents} latent) are kept"
    )


def _of(problem: EditProblem | None) -> str:
    """`/30` when the counts of the budget say how many evaluations there will be."""
    left = None if problem is None else problem.affordable()
    return "" if left is None or problem is None else f"/{problem.meter.renders + left}"


def reporter() -> Silent:
    """A panel on a terminal, lines elsewhere."""
    return Panel() if sys.stderr.isatty() else Lines()
