"""The one door: the only place where a video is rendered, a critic asked and a loss formed."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.editors.guidance import Guidance
from sparks.errors import SparksError
from sparks.models.memory import peak_memory
from sparks.search.budget import Budget, Meter
from sparks.search.evaluation import Evaluation
from sparks.search.halving import Halving
from sparks.search.scoring import Scorer

Observer = Callable[[list[Evaluation]], None]  # told of every batch, frames included
Guard = Callable[[], None]  # called before anything is rendered for a batch; may raise


class Recorded(Protocol):
    """Evaluations of an earlier process; see `sparks.search.history.Past`."""

    def recall(self, index: int, z: Tensor, seeds: Sequence[int]) -> list[Evaluation]:
        """What is known of candidates `z [B, k]` at positions `index` and on: B or fewer."""


@dataclass(eq=False, repr=False)
class EditProblem(Scorer):
    """Editor, clip, prompt, critic, weights and space as one function of `z`.

    Args:
        budget: limits of the search, or the meter of another problem that shares its limits; the
            others are those of `Scorer`.
    """

    budget: Budget | Meter = field(default_factory=Budget, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        # What an editor remembers by a conditioning shall be of this search alone.
        self._own = copy.copy(self.conditioning)
        self.meter = self.budget if isinstance(self.budget, Meter) else Meter(self.budget)
        self.observers: list[Observer] = []
        self.guards: list[Guard] = []
        self._in_parts = Halving()
        self._evaluations = 0
        self._recorded: Recorded | None = None

    @property
    def dim(self) -> int:
        """Coordinates k of the space."""
        return self.space.dim

    @property
    def device(self) -> torch.device:
        """Where candidates live."""
        return self.conditioning.device

    def affordable(self) -> int | None:
        """How many more candidates the counts allow; None if only time or nothing limits."""
        return self.meter.affordable(self._calls)

    def resume(
        self, recorded: Recorded, after: int, spent: Mapping[str, float] | None = None
    ) -> None:
        """Answer from what is recorded as far as it goes instead of rendering.

        Args:
            recorded: what an earlier process evaluated.
            after: evaluations that are not asked for again, for a solver with a state.
            spent: what the meter showed after those.
        """
        self._recorded, self._evaluations = recorded, after
        if spent is not None:
            self.meter.restore(spent)

    def evaluate(
        self,
        z: Tensor | np.ndarray,
        *,
        gradient: bool = False,
        frames: bool = False,
        seed: int | Sequence[int] | None = None,
    ) -> list[Evaluation]:
        """Render, judge and score candidates together, or recall what a resumed run knows of them.

        What is recalled comes without frames. When memory is short, the batch is rendered in parts.

        Args:
            z: `[B, k]`, or `[k]` for one.
            gradient: also give the gradient of each total with respect to its z.
            frames: also give the rendered frames.
            seed: other noise than the search's, for all of them or for each.

        Raises:
            BudgetExhausted: the batch would exceed a limit; nothing was spent.
            OutOfMemory: not even one candidate fits.
            SparksError: `z` is of the wrong shape, the critic has no gradient to give, or a resumed
                run knows another candidate.
        """
        candidates = self._candidates(z)
        self._check_gradient(gradient)
        seeds = self._seeds(seed, len(candidates))
        recalled = self._recall(candidates, seeds)
        if len(recalled) < len(candidates) or (gradient and any(map(_no_gradient, recalled))):
            scored = self._spend(candidates, seeds, gradient)
            recalled = _completed(recalled, scored)
        return self._publish(recalled, frames)

    def beside(self) -> "EditProblem":
        """The same problem on a meter of its own without limits, and with the same baseline."""
        other = EditProblem(
            self.editor,
            self.conditioning,
            self.critic,
            self.space,
            self.objective,
            sampling=self.sampling,
            guidance=self.guidance,
            watch=self.watch,
            prompt=self.prompt,
            seed=self.seed,
        )
        other._base = self.baseline if self.objective.needs_reference else None
        return other

    def render(self, controls: Controls, guidance: Guidance, seed: int | None = None) -> Tensor:
        """Frames `[T, 3, H, W]` of one candidate under other guidance, outside the budget.

        `seed` is of other noise than the search's.
        """
        return self._render(self._under(self._seeds(seed, 1)), controls, guidance)

    def _seeds(self, seed: int | Sequence[int] | None, count: int) -> list[int]:
        """Of the noise of `count` candidates."""
        given = self.conditioning.seed if seed is None else seed
        seeds = [given] * count if isinstance(given, int) else list(given)
        if len(seeds) != count:
            raise SparksError(f"{len(seeds)} seeds for {count} candidates; give one for each")
        return seeds

    def _under(self, seeds: Sequence[int]) -> Conditioning:
        own = self._own
        if set(seeds) == {own.seed}:
            return own
        return own.with_noise(seeds[0]) if len(set(seeds)) == 1 else own.with_noises(seeds)

    def _candidates(self, z: Tensor | np.ndarray) -> Tensor:
        candidates = torch.as_tensor(z).detach().to(self.device, torch.float32)
        candidates = candidates[None] if candidates.ndim == 1 else candidates
        if candidates.ndim != 2 or candidates.shape[1] != self.dim or not len(candidates):
            raise SparksError(
                f"z has shape {list(candidates.shape)}; this space needs [B, {self.dim}]"
            )
        return candidates

    def _check_gradient(self, wanted: bool) -> None:
        if wanted and not self.critic.differentiable:
            raise SparksError(
                f"critic {type(self.critic).__name__} has no gradient; "
                "choose a solver that needs none, or another critic"
            )

    def _recall(self, z: Tensor, seeds: Sequence[int]) -> list[Evaluation]:
        if self._recorded is None:
            return []
        # A batch that was refused must be refused again, not compared.
        self.meter.check(**self._price(len(z)))
        return self._recorded.recall(self._evaluations, z, seeds)

    def _price(self, batch: int) -> dict[str, int]:
        return {"qwen_calls": batch * self._calls, "renders": batch}

    def _spend(self, z: Tensor, seeds: list[int], gradient: bool) -> list[Evaluation]:
        """Render, judge and score on the meter."""
        self.meter.check(**self._price(len(z)))
        for guard in self.guards:
            guard()
        if self.objective.needs_reference:
            with self.meter.paused():
                _ = self.baseline
        position = self.meter.position(len(z), self._calls)
        self.meter.admit(**self._price(len(z)))
        before = (self.editor.forwards, self.editor.backwards)

        def score(rows: slice) -> list[Evaluation]:
            return self._score(
                z[rows],
                self._under(seeds[rows]),
                seeds[rows],
                gradient=gradient,
                position=position,
                index=self._evaluations,  # of the batch, however it is split
            )

        scored = self._in_parts(score, len(z))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.meter.finish(
            forwards=self.editor.forwards - before[0], backwards=self.editor.backwards - before[1]
        )
        return scored

    def _publish(self, scored: list[Evaluation], frames: bool) -> list[Evaluation]:
        first = self._evaluations
        self._evaluations += len(scored)
        if scored[-1].cost:  # recalled to the last: the meter shows what it showed then
            self.meter.restore(scored[-1].cost)
        late = self.meter.late
        cost = {**self.meter.spent(), "peak_memory": peak_memory(self.device)}
        scored = [
            replace(evaluation, index=index, batch=first, late=late, cost=evaluation.cost or cost)
            for index, evaluation in enumerate(scored, first)
        ]
        for observer in list(self.observers):
            observer(scored)
        return scored if frames else [replace(each, frames=None) for each in scored]


def _completed(recalled: list[Evaluation], scored: list[Evaluation]) -> list[Evaluation]:
    """What is recalled of a batch with its gradients and frames, then the rest as scored.

    A batch recorded in part is rendered whole: a smaller one would be rounded differently.
    """
    pairs = zip(recalled, scored, strict=False)
    both = [replace(old, gradient=new.gradient, frames=new.frames) for old, new in pairs]
    return both + scored[len(both) :]


def _no_gradient(evaluation: Evaluation) -> bool:
    return evaluation.gradient is None
