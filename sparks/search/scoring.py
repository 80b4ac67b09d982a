"""A render, a critic's answer and a loss of each candidate: what one evaluation is made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

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
from sparks.models.memory import enough_memory
from sparks.registry import complete
from sparks.search.evaluation import Evaluation, Watch
from sparks.search.foreign import blaming
from sparks.search.objective import Losses, Objective
from sparks.spaces.base import Space


@dataclass(eq=False, repr=False)
class Scorer:
    """Scores candidates together, outside of any budget; `EditProblem` is one with a budget.

    Args:
        editor: frozen generator.
        conditioning: what it prepared for clip and prompt.
        critic: frozen judge.
        space: coordinates of the search.
        objective: the loss.
        sampling: denoising steps while searching.
        guidance: while searching; plain by default, one forward per step.
        watch: what the critic sees.
        prompt: what it is asked about; the edit prompt if empty.
        seed: of its random windows.
    """

    editor: Editor
    conditioning: Conditioning
    critic: Critic
    space: Space
    objective: Objective
    _: KW_ONLY
    sampling: Sampling = Sampling()
    guidance: Guidance = UNGUIDED
    watch: Watch = Watch()
    prompt: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.editor, self.critic = complete(self.editor, Editor), complete(self.critic, Critic)
        self.space = complete(self.space, Space)
        self.prompt = self.prompt or self.conditioning.prompt
        self._base: Tensor | None = None

    @property
    def baseline(self) -> Tensor:
        """Prompt-only render `[T, 3, H, W]` under the search's noise, made once, uncharged."""
        if self._base is None:
            untuned = self.editor.start(self.conditioning)
            self._base = self._render(self.conditioning, untuned, self.guidance)
        return self._base

    @property
    def _calls(self) -> int:
        """Critic calls per render: windows, times what the critic asks about each."""
        return self.watch.windows * self.critic.calls

    def _score(
        self,
        z: Tensor,
        conditioning: Conditioning,
        seeds: Sequence[int],
        *,
        gradient: bool,
        position: float,
        index: int,
    ) -> list[Evaluation]:
        """Forward and, if asked for, one backward through the renderer.

        What the loss says about the frames is gathered on a detached copy of them first, window
        by window and term by term, so that the renderer is gone through once.

        Args:
            z: `[B, k]`.
            conditioning: whose noise is used.
            seeds: of that noise, of each candidate.
            gradient: also give the gradient of each total with respect to its z.
            position: in the search, see `Meter.position`.
            index: of the first one in the search, on which random windows depend.

        Raises:
            SparksError: the critic does not answer for each video, or frames carry no gradient.
        """
        with torch.set_grad_enabled(gradient):
            leaf = z.clone().requires_grad_(gradient)
            with blaming("space", self.space):
                controls = self.space.decode(leaf)
            with blaming("editor", self.editor):
                rendered = self.editor.render(
                    conditioning,
                    controls,
                    sampling=self.sampling,
                    guidance=self.guidance,
                    gradient=gradient,
                )
            if gradient and not rendered.requires_grad:
                raise SparksError(
                    "no gradient reaches the frames: see sampling.grad_steps, alpha_gradient and "
                    "guidance.tuning.skip_step, or choose a solver that needs none"
                )
            seen = rendered.detach().requires_grad_(gradient)
            terms, p_yes = self._judge(seen, index)
            latent = self.objective.latent(controls, position)
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

    def ask(self, frames: Tensor, like: Evaluation | None = None) -> float:
        """P(yes) of any `frames [T, 3, H, W]` outside the budget.

        Over the windows in which the evaluation `like` was judged, by default the start.
        """
        index = like.batch if like else 0
        return p_yes(self.critic, frames, self.prompt, self.watch, self.seed, index)

    def _render(self, conditioning: Conditioning, controls: Controls, guidance: Guidance) -> Tensor:
        """Frames `[T, 3, H, W]` of one candidate, without gradient."""
        blame = blaming("editor", self.editor)
        with torch.no_grad(), enough_memory("rendering"), blame:
            return self.editor.render(
                conditioning, controls, sampling=self.sampling, guidance=guidance
            )[0]

    def _judge(self, seen: Tensor, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Frame terms `[B]` and P(yes) `[B]`; gradients pile up on `seen`."""
        chosen = _windows(seen.shape[1], self.watch, self.seed, index)
        vlm, p_yes = torch.zeros(2, len(seen), device=seen.device)
        for indices in chosen:
            log_odds = _log_odds(self.critic, seen, self.prompt, indices).to(seen.device)
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


def p_yes(
    critic: Critic, frames: Tensor, prompt: str, watch: Watch, seed: int, index: int = 0
) -> float:
    """P(yes) of finished `frames [T, 3, H, W]`: the mean over windows as in a search.

    Random windows are those of the batch whose first candidate has `index` in the search.
    """
    chosen = _windows(len(frames), watch, seed, index)
    with torch.no_grad():
        answers = [_log_odds(critic, frames[None], prompt, each).sigmoid() for each in chosen]
    return float(torch.stack(answers).mean())


def _log_odds(critic: Critic, frames: Tensor, prompt: str, indices: list[int]) -> Tensor:
    with blaming("critic", critic):
        log_odds = critic.log_odds(frames, prompt, indices)
    if log_odds.shape != frames.shape[:1]:
        raise SparksError(
            f"critic {type(critic).__name__} answers with shape {list(log_odds.shape)} "
            f"for {len(frames)} videos; log_odds must give one number for each"
        )
    return log_odds


def _windows(count: int, watch: Watch, seed: int, index: int) -> Sequence[list[int]]:
    # They depend on the search's seed and position only, so that a replay repeats them.
    rng = np.random.default_rng([seed, index])
    return windows(count, watch.num_frames, watch.sampling, watch.windows, rng, start=watch.start)


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
