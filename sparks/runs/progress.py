"""What a person sees of a running edit, on standard error."""

import os
import sys
import threading
import time
from typing import Any

from sparks.runs.result import Result
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem

_SILENCE = 5.0  # seconds without a line


class Silent:
    """Says nothing; the base of the others."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        return None

    def stage(self, name: str) -> None:
        """A new part of the work begins."""

    def search(self, problem: EditProblem) -> None:
        """The search of `problem` begins."""

    def evaluated(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""


class Lines(Silent):
    """One line per event, for logs, and one now and then while there is none."""

    def __init__(self) -> None:
        self.origin = self.printed = time.perf_counter()
        self.problem: EditProblem | None = None
        self._over = threading.Event()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._over.set()

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        self._over.set()  # of the search, if there was one
        self._print(name)

    def search(self, problem: EditProblem) -> None:
        """The search of `problem` begins."""
        self.problem = problem
        self._print(f"searching {_plan(problem)}")
        self._over = threading.Event()
        threading.Thread(target=self._live, args=(problem,), daemon=True).start()

    def evaluated(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        terms = "  ".join(f"{name} {value:.4g}" for name, value in evaluation.losses.terms.items())
        self._print(
            f"evaluation {evaluation.index + 1}{_of(self.problem)}  total {evaluation.total:.4f}  "
            f"{terms}  P(yes) {evaluation.p_yes:.3f}  "
            f"best {best.total:.4f} (P(yes) {best.p_yes:.3f}, evaluation {best.index + 1})"
        )

    def _live(self, problem: EditProblem) -> None:
        """Say that something goes on where a batch takes long."""
        over = self._over
        while not over.wait(1):
            if time.perf_counter() - self.printed > _SILENCE:
                self._print(f"rendering: {problem.editor.forwards} denoiser steps so far")

    def _print(self, text: str) -> None:
        self.printed = time.perf_counter()
        print(f"{time.perf_counter() - self.origin:7.1f}s  {text}", file=sys.stderr, flush=True)


class Panel(Silent):
    """Finished stages above; below them what runs now, a bar with the time left, and the losses."""

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
        self.console = Console(stderr=True, highlight=False)
        self.stages = Progress(SpinnerColumn(), text, TimeElapsedColumn(), console=self.console)
        remaining = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.bar = Progress(text, BarColumn(), *remaining, console=self.console)
        self.table: Any = None
        self.problem: EditProblem | None = None
        self.live = Live(get_renderable=self._view, console=self.console, refresh_per_second=8)
        self.start: Evaluation | None = None

    def __enter__(self) -> "Panel":
        self.live.start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._finish_stage("[green]✓[/]" if error is None else "[red]✗[/]")
        self.live.stop()

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        self._finish_stage("[green]✓[/]")
        for task in self.bar.tasks:
            self.bar.stop_task(task.id)
        self.stages.add_task(name, total=None)

    def search(self, problem: EditProblem) -> None:
        """The search of `problem` begins."""
        self.problem = problem
        self.stage("searching")
        self.console.print(f"  {_plan(problem)}")
        self.task = self.bar.add_task(f"evaluation 0{_of(problem)}", total=1)

    def evaluated(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        if self.problem is None:
            return
        if evaluation.index == 0:  # a search that goes on has its start behind it
            self.start = evaluation
        self.bar.update(
            self.task,
            completed=self.problem.meter.progress,
            description=f"evaluation {evaluation.index + 1}{_of(self.problem)}",
        )
        self.table = table(self.start, evaluation, best)

    def _finish_stage(self, sign: str) -> None:
        for task in list(self.stages.tasks):
            self.console.print(f"{sign} {task.description} [dim]{task.elapsed or 0:.1f} s[/]")
            self.stages.remove_task(task.id)

    def _view(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        steps = None
        if self.problem is not None and not self.bar.finished:
            steps = Text(f"  {self.problem.editor.forwards} denoiser steps", style="dim")
        bar = self.bar if self.table else None
        parts = [self.stages if self.stages.tasks else None, bar, steps]
        return Group(*(part for part in (*parts, self.table) if part is not None))


def table(start: Evaluation | None, now: Evaluation, best: Evaluation) -> Any:
    """Terms downwards, so that it fits any terminal whatever an objective adds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = {} if start is None else {"start": start}
    shown |= {"now": now, f"best ({best.index + 1})": best}
    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column(no_wrap=True)
    for title in shown:
        grid.add_column(title, justify="right", no_wrap=True, min_width=9)
    for name in now.losses.terms:
        grid.add_row(name, *(f"{each.losses.terms[name]:.3g}" for each in shown.values()))
    grid.add_row("total", *(f"{each.total:.4f}" for each in shown.values()), style="bold")
    grid.add_row("P(yes)", *(f"{each.p_yes:.3f}" for each in shown.values()), style="bold")
    return grid


def _plan(problem: EditProblem) -> str:
    of = problem.conditioning
    frames, latents = of.prefix_frames_kept, of.prefix_latents
    return (
        f"{problem.dim} numbers within {problem.meter.budget}; "
        f"the first {frames} frames ({latents} latent) are kept"
    )


def _of(problem: EditProblem | None) -> str:
    """`/30` when the counts of the budget say how many evaluations there will be."""
    left = None if problem is None else problem.affordable()
    return "" if left is None or problem is None else f"/{problem.meter.renders + left}"


def reporter() -> Silent:
    """A panel on a terminal that can move its cursor, lines elsewhere."""
    capable = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Panel() if capable else Lines()


_ENDS = {
    "patience": "nothing better came for a while",
    "diverged": "the loss was no number a few times in a row; try a smaller step or dtype=float32",
    "interrupt": "it was interrupted; sparks solve --resume goes on",
    "memory": "memory was too small; with more of it, sparks solve --resume goes on",
    "solver": "the solver had nothing left to try",
}
_FILES = {
    "edited.mp4": "the edit",
    "baseline.mp4": "the same without tuning",
    "side_by_side.mp4": "source, baseline and edit",
    "contact_sheet.png": "their frames in three rows",
    "curve.png": "loss and P(yes) over the search",
}


def summary(result: Result) -> str:
    """What an edit reached and where it is, in words."""
    files = (f"  {name:<17}  {what}" for name, what in _FILES.items())
    return "\n".join((verdict(result), f"Written to {result.run_dir}:", *files))


def verdict(result: Result) -> str:
    """What an edit reached and why its search ended, in two lines."""
    ended = result.stopped_by
    renders, seconds = (result.spent.get(name, 0) for name in ("renders", "wall_clock"))
    why = _ENDS.get(ended, f"its budget of {ended} was spent")
    count = result.skipped
    skipped = f"; {count} evaluations gave no number and were skipped" if count else ""
    return (
        f"The critic says {_answer(result.p_yes_edited)} to the edit: "
        f"P(yes) {_shown(result.p_yes_edited)} "
        f"(before tuning {_shown(result.p_yes_baseline)}, "
        f"best of the search {_shown(result.p_yes_best)}).\n"
        f"The search ended after {renders:.0f} renders in {seconds:.0f} s: "
        f"{why}{skipped}."
    )


def _answer(p_yes: float | None) -> str:
    return "nothing" if p_yes is None else "yes" if p_yes > 0.5 else "no"


def _shown(p_yes: float | None) -> str:
    return "no number" if p_yes is None else f"{p_yes:.3f}"
