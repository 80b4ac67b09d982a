"""A differentiable Euler loop over a frozen denoiser, with a truncated graph."""

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from sparks.editors.conditioning import Conditioning, VideoConditioning
from sparks.editors.guidance import PASSES, Guidance
from sparks.editors.reuse import Reuse
from sparks.editors.runner import Runner
from sparks.editors.schedule import Sampling

if TYPE_CHECKING:
    from sparks.editors.controls import Controls

States = tuple[Tensor, ...]  # tokens of each modality, the video's first
StepListener = Callable[..., None]  # given the number of finished steps, and the states


@dataclass
class Counter:
    """Denoiser passes, summed over the items of a batch."""

    forwards: int = 0
    backwards: int = 0


Walked = tuple[States, States | None]  # states between two steps, and the last guided prediction


class Prefix:
    """Where the steps without gradient led, for the next renders of the same search.

    Only single candidates are remembered: of several, nothing would tell which is which.
    """

    def __init__(self) -> None:
        self._made_by: tuple[Sampling, Guidance] | None = None
        self._walked: Walked | None = None
        self._uses = 0

    def take(self, sampling: Sampling, guidance: Guidance) -> Walked | None:
        """What was kept for these, unless it is time to run the steps anew."""
        if self._made_by != (sampling, guidance) or self._uses >= sampling.refresh_prefix:
            return None
        self._uses += 1
        return self._walked

    def keep(self, sampling: Sampling, guidance: Guidance, walked: Walked) -> None:
        """Remember what was just run."""
        if sampling.refresh_prefix > 1:
            self._made_by, self._walked, self._uses = (sampling, guidance), walked, 1


class Prefixes:
    """A `Prefix` for each conditioning, for as long as that exists: searches share none."""

    def __init__(self) -> None:
        self._prefixes: dict[int, Prefix] = {}

    def of(self, conditioning: Conditioning) -> Prefix:
        """The one of this object; an equal one has its own."""
        key = id(conditioning)
        if key not in self._prefixes:
            self._prefixes[key] = Prefix()
            weakref.finalize(conditioning, self._prefixes.pop, key)
        return self._prefixes[key]


class Denoiser(ABC):
    """A transformer bound to one conditioning and one batch of controls.

    Attributes:
        batch: candidates.
        masks: of each modality's tokens `[1, n, 1]`, 1 where regenerated; set by subclasses, as
        clean: the tokens that are kept `[B, n, C]`, and
        noise: where the others start.
    """

    masks: States
    clean: States
    noise: States
    states: ClassVar[tuple[str, ...]]  # what the transformer calls them

    def __init__(
        self,
        runner: Runner,
        conditioning: VideoConditioning,
        controls: "Controls",
        sampling: Sampling,
        guidance: Guidance,
        counter: Counter | None,
    ) -> None:
        self.runner, self.transformer = runner, runner.transformer
        guidance.check_blocks(len(self.transformer.transformer_blocks))
        self.sampling, self.guidance = sampling, guidance
        self.counter = counter or Counter()
        self.batch, self.tokens = controls.batch, conditioning.video_latent.shape[1]
        self.dtype, self.device = runner.dtype, runner.device
        self.reuses = {name: Reuse(sampling.refresh_blocks, self.states) for name in PASSES}

    @abstractmethod
    def guided(self, states: States, sigma: float) -> States:
        """Guided x0 of each modality, in float32."""

    def start(self) -> States:
        """State before the first step: noise where regenerated, clean elsewhere."""
        return self.restore(self.noise)

    def restore(self, tokens: States) -> States:
        """`tokens` with the kept positions replaced by the clean latents, alpha among them."""
        return tuple(
            torch.where(mask > 0, new, clean)
            for mask, new, clean in zip(self.masks, tokens, self.clean, strict=True)
        )

    def run(self, name: str, **arguments: Any) -> tuple[Tensor, ...]:
        """What the transformer says in one pass, blocks saved as the sampling wants it; counted."""
        reused = self.sampling.refresh_blocks > 1 and not torch.is_grad_enabled()
        outputs = self.runner(self.reuses[name] if reused else None, **arguments)
        self.counter.forwards += self.batch
        if outputs[0].requires_grad:
            outputs[0].register_hook(self._count_backward)
        return outputs

    def _count_backward(self, _: Tensor) -> None:
        self.counter.backwards += self.batch

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def _row(self, tensor: Tensor) -> Tensor:
        """On the model's device and dtype, one row per candidate."""
        return tensor.to(self.device, self.dtype).expand(self.batch, *tensor.shape[1:])


def denoise(
    denoiser: Denoiser,
    *,
    gradient: bool = False,
    on_step: StepListener | None = None,
    prefix: Prefix | None = None,
) -> States:
    """Denoise a batch of candidates that share one conditioning.

    Each step forms x0 = x - m s v per token (m the mask, s the noise level, v the velocity),
    guides it, restores the kept tokens, and moves x by (x - x0) / s * (s' - s).

    Args:
        denoiser: of these candidates; its sampling is that of the loop.
        gradient: keep the graph of the last `sampling.grad_steps` steps.
        on_step: called with the number of finished steps and the states.
        prefix: where steps without gradient are remembered, for `sampling.refresh_prefix`.

    Returns:
        Final tokens of each modality, normalised.
    """
    sampling, guidance = denoiser.sampling, denoiser.guidance
    if gradient:
        guidance.check_steps(len(sampling.sigmas) - 1, sampling.grad_steps)
    steps = list(pairwise(sampling.levels(denoiser.tokens)))
    first_grad = max(len(steps) - sampling.grad_steps, 0) if gradient else len(steps)
    # With a graph from the first step on there is nothing to remember.
    memory = prefix if first_grad and denoiser.batch == 1 else None
    remembered = memory.take(sampling, guidance) if memory else None
    with torch.set_grad_enabled(first_grad == 0):
        states, guided = remembered or (denoiser.start(), None)
    for step, (sigma, following) in enumerate(steps):
        if step < first_grad and remembered:
            continue
        if step == first_grad and memory and not remembered:
            memory.keep(sampling, guidance, (states, guided))
        with torch.set_grad_enabled(step >= first_grad):
            if step >= first_grad and sampling.alpha_gradient == "direct":
                states = denoiser.restore(states)
            if guided is None or step % (guidance.skip_step + 1) == 0:
                guided = denoiser.guided(states, sigma)
            targets = denoiser.restore(guided)
            states = _euler(states, targets, sigma, following)
        if on_step is not None:
            on_step(step + 1, *states)
    return states


def _euler(states: States, targets: States, sigma: float, following: float) -> States:
    return tuple(
        _step(state.float(), target.float(), sigma, following).to(state.dtype)
        for state, target in zip(states, targets, strict=True)
    )


def _step(state: Tensor, target: Tensor, sigma: float, following: float) -> Tensor:
    return state + (state - target) / sigma * (following - sigma)
