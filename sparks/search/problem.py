"""The one door: the only place where a video is rendered, a critic asked and a loss formed."""

import hashlib
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sparks.critics.base import Critic
from sparks.critics.sampling import windows
from sparks.editors.base import Editor
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.editors.guidance import UNGUIDED, Guidance
from sparks.editors.schedule import Sampling
from sparks.errors import SparksError
from sparks.models.memory import OutOfMemory, enough_memory, is_out_of_memory, release_memory
from sparks.search.budget import Budget, Meter
from sparks.search.objective import Losses, Objective
from sparks.spaces.base import Space

log = logging.getLogger("sparks")


@dataclass(frozen=True)
class Watch:
    """What the critic sees of a render.

    Attributes:
        num_frames: frames per window.
        sampling: how the first window's frames are chosen; see `sparks.critics.sampling`.
        windows: critic calls per render, of which all but the first see a random stretch.
        start: first frame that a contiguous window may begin at.
    """

    num_frames: int = 8
    sampling: str = "linspace"
    windows: int = 1
    start: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One candidate as it was scored.

    Attributes:
        index: position in the search's history.
        z: `[k]` float32.
        losses: weighted terms and their total.
        p_yes: mean over the critic's windows.
        gradient: `[k]` of the total with respect to z, if asked for.
        frames: `[T, 3, H, W]`, if asked for.
        seed: of the render's noise.
        late: it ended after the seconds were over, so it cannot be the best.
        cost: what the meter showed afterwards; depends on clock and machine.
    """

    index: int
    z: Tensor
    losses: Losses
    p_yes: float
    seed: int
    gradient: Tensor | None = None
    frames: Tensor | None = None
    late: bool = False
    cost: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """The loss."""
        return self.losses.total

    @property
    def finite(self) -> bool:
        """Whether the loss, and the gradient if there is one, can be used."""
        whole = self.gradient is None or bool(self.gradient.isfinite().all())
        return math.isfinite(self.total) and whole

    @property
    def z_sha256(self) -> str:
        """Fingerprint of `z` (float32, little endian)."""
        values = self.z.detach().cpu().numpy().astype("<f4")
        return hashlib.sha256(values.tobytes()).hexdigest()


Observer = Callable[[list[Evaluation]], None]  # told of every batch, frames included
Guard = Callable[[], None]  # called before anything is rendered for a batch; may raise


class Memory(Protocol):
    """Evaluations of an earlier process; see `sparks.search.history.Past`."""

    def recall(self, index: int, z: Tensor, seeds: Sequence[int]) -> list[Evaluation]:
        """What is known of candidates `z [B, k]` at positions `index` and on: B or fewer."""


class EditProblem:
    """Editor, clip, prompt, critic, weights and space as one function of `z`.

    Args:
        editor: frozen generator.
        conditioning: what it prepared for clip and prompt.
        critic: frozen judge.
        space: coordinates of the search.
        objective: the loss.
        budget: limits of the search.
        sampling: denoising steps while searching.
        guidance: while searching; plain by default, one forward per step.
        watch: what the critic sees.
        prompt: what the critic is asked about; the edit prompt by default.
        seed: of the critic's random windows.
    """

    def __init__(
        self,
        editor: Editor,
        conditioning: Conditioning,
        critic: Critic,
        space: Space,
        objective: Objective,
        *,
        budget: Budget = Budget(),
        sampling: Sampling = Sampling(),
        guidance: Guidance = UNGUIDED,
        watch: Watch = Watch(),
        prompt: str | None = None,
        seed: int = 0,
    ) -> None:
        self.editor, self.conditioning, self.critic = editor, conditioning, critic
        self.space, self.objective = space, objective
        self.sampling, self.guidance, self.watch = sampling, guidance, watch
        self.prompt = conditioning.prompt if prompt is None else prompt
        self.seed = seed
        self.meter = Meter(budget)
        self.observers: list[Observer] = []
        self.guards: list[Guard] = []
        self._evaluations = 0
        self._past: Memory | None = None
        self._together: int | None = None  # candidates that memory allows at once
        self._base: Tensor | None = None

    @property
    def dim(self) -> int:
        """Coordinates k of the space."""
        return self.space.dim

    @property
    def device(self) -> torch.device:
        """Where candidates live."""
        return self.conditioning.device

    @property
    def baseline(self) -> Tensor:
        """Prompt-only render `[T, 3, H, W]` under the search's noise, made once, uncharged."""
        if self._base is None:
            untuned = self.editor.start(self.conditioning)
            self._base = self._render_apart(self.conditioning, untuned, self.guidance)
        return self._base

    def affordable(self) -> int | None:
        """How many more candidates the counts allow; None if only time or nothing limits."""
        return self.meter.affordable(self._calls)

    def resume(self, past: Memory, after: int, spent: Mapping[str, float] | None = None) -> None:
        """Answer from `past` as far as it goes instead of rendering.

        Args:
            past: what an earlier process evaluated.
            after: evaluations that are not asked for again, for a solver with a state.
            spent: what the meter showed after those.
        """
        self._past, self._evaluations = past, after
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
        if gradient and not self.critic.differentiable:
            raise SparksError(
                f"critic {type(self.critic).__name__} has no gradient; "
                "choose a solver that needs none, or another critic"
            )
        seeds = self._seeds(seed, len(candidates))
        known = self._recall(candidates, seeds)
        if len(known) == len(candidates) and not (gradient and any(map(_no_gradient, known))):
            return self._publish(known, frames)
        scored = self._spend(candidates, seeds, gradient)
        # A batch recorded in part is rendered whole: a smaller one would be rounded differently.
        known = [
            replace(old, gradient=new.gradient, frames=new.frames)
            for old, new in zip(known, scored, strict=False)
        ]
        return self._publish(known + scored[len(known) :], frames)

    def ask(self, frames: Tensor) -> float:
        """P(yes) of any `frames [T, 3, H, W]` over the first window, outside the budget."""
        first = self._windows(frames.shape[0], np.random.default_rng(self.seed))[0]
        with torch.no_grad():
            return float(self.critic.log_odds(frames[None], self.prompt, first).sigmoid())

    def render(self, controls: Controls, guidance: Guidance, seed: int | None = None) -> Tensor:
        """Frames `[T, 3, H, W]` of one candidate under other guidance, outside the budget.

        `seed` is of other noise than the search's.
        """
        return self._render_apart(self._under(self._seeds(seed, 1)), controls, guidance)

    def _seeds(self, seed: int | Sequence[int] | None, count: int) -> list[int]:
        """Of the noise of `count` candidates."""
        given = self.conditioning.seed if seed is None else seed
        seeds = [given] * count if isinstance(given, int) else list(given)
        if len(seeds) != count:
            raise SparksError(f"{len(seeds)} seeds for {count} candidates; give one for each")
        return seeds

    def _under(self, seeds: Sequence[int]) -> Conditioning:
        own = self.conditioning
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

    def _recall(self, z: Tensor, seeds: Sequence[int]) -> list[Evaluation]:
        if self._past is None:
            return []
        # A batch that was refused must be refused again, not compared.
        self.meter.check(**self._price(len(z)))
        return self._past.recall(self._evaluations, z, seeds)

    def _price(self, batch: int) -> dict[str, int]:
        return {"qwen_calls": batch * self._calls, "renders": batch}

    @property
    def _calls(self) -> int:
        """Critic calls per render: windows, times what the critic asks about each."""
        return self.watch.windows * getattr(self.critic, "calls", 1)

    def _spend(self, z: Tensor, seeds: list[int], gradient: bool) -> list[Evaluation]:
        """Render, judge and score on the meter."""
        self.meter.check(**self._price(len(z)))
        for guard in self.guards:
            guard()
        if self.objective.needs_reference:
            with self.meter.paused():
                _ = self.baseline
        progress = self.meter.progress
        self.meter.admit(**self._price(len(z)))
        before = (self.editor.forwards, self.editor.backwards)
        scored = self._score_in_parts(z, seeds, progress, gradient)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.meter.finish(
            forwards=self.editor.forwards - before[0], backwards=self.editor.backwards - before[1]
        )
        return scored

    def _score_in_parts(
        self, z: Tensor, seeds: list[int], progress: float, gradient: bool
    ) -> list[Evaluation]:
        """All together; when memory is too small for that, in halves from then on."""
        while True:
            size = self._together or len(z)
            parts = z.split(size)
            noises = (seeds[first : first + size] for first in range(0, len(z), size))
            pairs = zip(parts, noises, strict=True)
            try:
                scored = (self._score(part, own, progress, gradient) for part, own in pairs)
                return [evaluation for part in scored for evaluation in part]
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of `except`, which would keep the failed render's tensors.
            release_memory()
            if len(parts[0]) == 1:
                raise OutOfMemory("rendering one candidate")
            self._together = len(parts[0]) // 2
            log.warning("out of memory: from here on %d candidates at a time", self._together)

    def _score(
        self, z: Tensor, seeds: Sequence[int], progress: float, gradient: bool
    ) -> list[Evaluation]:
        """Forward and, if asked for, one backward through the renderer.

        What the loss says about the frames is gathered on a detached copy of them first, window
        by window and term by term, so that the renderer is gone through once.
        """
        conditioning = self._under(seeds)
        with torch.set_grad_enabled(gradient):
            leaf = z.clone().requires_grad_(gradient)
            controls = self.space.decode(leaf)
            rendered = self.editor.render(
                conditioning,
                controls,
                sampling=self.sampling,
                guidance=self.guidance,
                gradient=gradient,
            )
            seen = rendered.detach().requires_grad_(gradient)
            terms, p_yes = self._judge(seen)
            latent = self.objective.latent(controls, progress)
            if gradient:
                _backward(rendered, seen, latent)
        terms |= {name: value.detach() for name, value in latent.items()}
        grads = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        return [
            Evaluation(
                index=-1,  # known when the batch is whole
                z=z[row],
                losses=Losses({name: _number(value[row]) for name, value in terms.items()}),
                p_yes=_number(p_yes[row]),
                seed=seeds[row],
                gradient=grads[row] if gradient else None,
                frames=seen.detach()[row],
            )
            for row in range(len(z))
        ]

    def _judge(self, seen: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Frame terms `[B]` and P(yes) `[B]`; gradients pile up on `seen`."""
        # A window depends on the search's seed and position only, so that a replay repeats it.
        rng = np.random.default_rng([self.seed, self._evaluations])
        chosen = self._windows(seen.shape[1], rng)
        vlm, p_yes = torch.zeros(2, len(seen), device=seen.device)
        for indices in chosen:
            log_odds = self.critic.log_odds(seen, self.prompt, indices).to(seen.device)
            term = self.objective.vlm(log_odds) / len(chosen)
            _pile_up(term)
            vlm += term.detach()
            p_yes += log_odds.detach().sigmoid() / len(chosen)
        terms = {"vlm": vlm}
        if self.objective.needs_reference:
            for name, term in self.objective.preserve(seen, self.baseline):
                _pile_up(term)
                terms[name] = term.detach()
        return terms, p_yes

    def _windows(self, count: int, rng: np.random.Generator) -> Sequence[list[int]]:
        watch = self.watch
        return windows(
            count, watch.num_frames, watch.sampling, watch.windows, rng, start=watch.start
        )

    def _render_apart(
        self, conditioning: Conditioning, controls: Controls, guidance: Guidance
    ) -> Tensor:
        with torch.no_grad(), enough_memory("rendering"):
            return self.editor.render(
                conditioning, controls, sampling=self.sampling, guidance=guidance
            )[0]

    def _publish(self, scored: list[Evaluation], frames: bool) -> list[Evaluation]:
        first = self._evaluations
        self._evaluations += len(scored)
        if scored[-1].cost:  # recalled to the last: the meter shows what it showed then
            self.meter.restore(scored[-1].cost)
        late = self.meter.late
        cost = {**self.meter.spent(), "peak_memory": peak_memory(self.device)}
        scored = [
            replace(evaluation, index=index, late=late, cost=evaluation.cost or cost)
            for index, evaluation in enumerate(scored, first)
        ]
        for observer in list(self.observers):
            observer(scored)
        return scored if frames else [replace(each, frames=None) for each in scored]


def peak_memory(device: torch.device) -> int:
    """Most bytes held at once so far: on the device, or by this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _no_gradient(evaluation: Evaluation) -> bool:
    return evaluation.gradient is None


def _number(value: Tensor) -> float:
    """NaN stands for infinities too, so that a history in JSON can say the same."""
    return float(value) if value.isfinite() else math.nan


def _pile_up(term: Tensor) -> None:
    if term.requires_grad:
        term.sum().backward()


def _backward(rendered: Tensor, seen: Tensor, latent: Mapping[str, Tensor]) -> None:
    """Send what gathered on `seen`, and the latent terms, back to z in one pass."""
    ends = [value.sum() for value in latent.values() if value.requires_grad]
    seeds: list[Tensor | None] = [None for _ in ends]
    if rendered.requires_grad and seen.grad is not None:
        ends, seeds = [rendered, *ends], [seen.grad, *seeds]
    if ends:
        torch.autograd.backward(ends, seeds)
