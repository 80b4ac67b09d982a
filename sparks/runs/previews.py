"""Videos of the best so far while a search runs."""

from dataclasses import replace
from pathlib import Path

from sparks.media.clip import Clip, write_clip
from sparks.search.evaluation import Evaluation
from sparks.search.problem import EditProblem


class Previews:
    """A listener that writes `previews/0012.mp4` after every N evaluations, named by the best one.

    It is the best as it was scored, at the tuning guidance, with the source's sound; nothing is
    written while the best stays the same. The clock of the budget stands still meanwhile.

    Args:
        folder: the run directory.
        every: N.
        problem: of the search.
        source: the clip that is edited.
    """

    def __init__(self, folder: Path, every: int, problem: EditProblem, source: Clip) -> None:
        self.folder, self.every = folder / "previews", every
        self.problem, self.source = problem, source

    def __call__(self, evaluation: Evaluation, best: Evaluation) -> None:
        """One candidate was scored."""
        path = self.folder / f"{best.index + 1:04}.mp4"
        if (evaluation.index + 1) % self.every or path.exists():
            return
        with self.problem.meter.paused():
            frames = best.frames
            if frames is None:  # it was scored by an earlier process
                problem = self.problem
                controls = problem.space.decode(best.z[None])
                frames = problem.render(controls, problem.guidance, best.seed)
            write_clip(path, replace(self.source, frames=frames.cpu()))
