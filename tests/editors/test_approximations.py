"""Renders with gradient that do less: on a tiny model with blocks to spare, and the bundled one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.editors import Guidance, LTX2Editor, ModalityGuidance, Sampling
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.editors.levers import PLAIN, LTX2Levers
from sparks.editors.ltx2_denoiser import LTX2Denoiser, sample
from sparks.errors import SparksError
from sparks.media.clip import Clip
from sparks.pocket.tasks import Source, default_task
from sparks.search.budget import Budget
from sparks.search.driver import solve
from sparks.search.evaluation import Watch
from sparks.search.journal import Journal
from sparks.search.objective import Objective
from sparks.search.problem import EditProblem
from sparks.settings.layers import assignments
from sparks.settings.schema import Config
from sparks.solvers.adam import Adam
from sparks.spaces.base import FullSpace
from tests.editors.conftest import _liven, write_model
from tests.searches import LIGHT, history
from tests.toy import Brightness

BLOCKS = 5
EXACT = Sampling(num_inference_steps=7, grad_steps=2)
BOTH = replace(EXACT, refresh_blocks=2, stop_early=1)
STRONG = ModalityGuidance(guidance_scale=3, stg_scale=1, modality_scale=2, rescale=0.7)
FULL = Guidance(video=STRONG, audio=STRONG, stg_blocks=(0, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import LTX2VideoTransformer3DModel

    folder = write_model(tmp_path_factory.mktemp("deep"))
    config = json.loads((folder / "transformer" / "config.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(11)
        deep = LTX2VideoTransformer3DModel.from_config({**config, "num_layers": BLOCKS})
        _liven(deep)
    deep.save_pretrained(folder / "transformer")
    return folder


@pytest.fixture(scope="module")
def editor(folder: Path) -> LTX2Editor:
    return LTX2Editor(folder, "cpu")


def conditions(editor: LTX2Editor, clip: Clip) -> Conditioning:
    return editor.prepare(
        clip, "a red ball jumps", negative_prompt="still", prefix_frames=5, seed=3
    )


@pytest.fixture(scope="module")
def conditioning(editor: LTX2Editor, clip: Clip) -> Conditioning:
    return conditions(editor, clip)


def gradient(
    editor: LTX2Editor, conditioning: Conditioning, sampling: Sampling, batch: int = 1
) -> tuple[Tensor, Tensor]:
    """Of something of the frames: a row for each candidate; and the frames."""
    start, generator = editor.start(conditioning), torch.Generator().manual_seed(0)
    noise = torch.randn(2, *start.delta_v.shape[1:], generator=generator)[:batch]
    alpha = start.alpha.repeat(batch, 1, 1, 1).requires_grad_()
    delta_v = (0.3 * noise).requires_grad_()
    controls = Controls(alpha, delta_v)
    frames = editor.render(conditioning, controls, sampling=sampling, gradient=True)
    weights = torch.linspace(-1, 1, frames[0].numel()).reshape(frames.shape[1:])
    parts = torch.autograd.grad((frames * weights).sum(), (alpha, delta_v))
    return torch.cat([part.flatten(1) for part in parts], dim=1), frames.detach()


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@pytest.fixture
def runs(editor: LTX2Editor) -> Any:
    """How often each block has run."""
    counts: Counter[int] = Counter()
    hooks = [
        block.register_forward_pre_hook(lambda *_, index=index: counts.update([index]))
        for index, block in enumerate(editor.transformer.transformer_blocks)
    ]
    yield lambda: [counts[index] for index in range(BLOCKS)]
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("every", [1, 2, 3, 9])
def test_middle_blocks_run_in_every_nth_step_without_gradient(
    editor: LTX2Editor, conditioning: Conditioning, runs: Any, every: int
) -> None:
    gradient(editor, conditioning, replace(EXACT, refresh_blocks=every))
    whole = -(-5 // every) + 2
    assert runs() == [7, whole, whole, whole, 7]


def test_each_guidance_pass_takes_over_its_own(
    editor: LTX2Editor, conditioning: Conditioning, runs: Any
) -> None:
    start = editor.start(conditioning)
    denoiser = LTX2Denoiser(editor.runner, conditioning, start, BOTH, FULL)
    exact = LTX2Denoiser(editor.runner, conditioning, start, EXACT, FULL)
    assert denoiser.passes == ["cond", "uncond", "perturbed", "isolated"]
    states = denoiser.start()
    with torch.no_grad():
        wanted = [exact.predict(name, states, 0.9) for name in denoiser.passes]
        before = runs()
        # What changes nothing from step to step is taken over without loss.
        for _ in range(2):
            found = [denoiser.predict(name, states, 0.9) for name in denoiser.passes]
        moved = denoiser.predict("cond", states, 0.9), denoiser.predict("cond", states, 0.5)
        other = exact.predict("cond", states, 0.5)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    assert [now - then for now, then in zip(runs(), before, strict=True)] == [11, 6, 6, 6, 11]
    assert torch.equal(moved[0][0], wanted[0][0])
    assert not torch.allclose(moved[1][0], other[0], atol=1e-4)


def test_a_batch_equals_its_candidates_one_by_one(
    editor: LTX2Editor, conditioning: Conditioning
) -> None:
    together, frames = gradient(editor, conditioning, BOTH, batch=2)
    alone, frame = gradient(editor, conditioning, BOTH)
    torch.testing.assert_close(frames[:1], frame, atol=1e-5, rtol=0)
    torch.testing.assert_close(together[:1], alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
    assert not torch.allclose(together[0], together[1], rtol=1e-2)


@pytest.mark.parametrize(
    "options",
    [
        {"levers": PLAIN},
        {"levers": LTX2Levers(compile=True, compile_backend="eager")},
        {"levers": LTX2Levers(cuda_graphs=True)},  # these steps are never replayed
        {"storage": "offload"},
    ],
    ids=["plain", "compile", "cuda_graphs", "offload"],
)
def test_levers_do_not_change_it(
    folder: Path, clip: Clip, editor: LTX2Editor, conditioning: Conditioning, options: Any
) -> None:
    expected, _ = gradient(editor, conditioning, BOTH)
    other = LTX2Editor(folder, "cpu", **options)
    sampling = replace(BOTH, checkpointing=True)
    found, _ = gradient(other, conditions(other, clip), sampling)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_the_prediction_of_an_earlier_step_is_judged(
    editor: LTX2Editor, conditioning: Conditioning
) -> None:
    start, visited = editor.start(conditioning), []
    options: Any = {"guidance": FULL, "gradient": True}

    def keep(_: int, video: Tensor, audio: Tensor) -> None:
        visited.append((video, audio))

    sample(editor.runner, conditioning, start, sampling=EXACT, on_step=keep, **options)
    early = replace(EXACT, stop_early=3)
    found = sample(editor.runner, conditioning, start, sampling=early, **options)
    denoiser = LTX2Denoiser(editor.runner, conditioning, start, EXACT, FULL)
    with torch.no_grad():
        x0 = denoiser.restore(denoiser.guided(visited[2], EXACT.sigmas[3]))
    torch.testing.assert_close(found, x0, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[0], visited[-1][0], atol=1e-3)


@pytest.mark.parametrize(
    ("sampling", "forwards", "backwards"),
    [
        (EXACT, 7, 2),
        (replace(EXACT, stop_early=2), 5, 2),
        (replace(EXACT, stop_early=6), 1, 1),
        (replace(EXACT, stop_early=70), 1, 1),
        (replace(EXACT, schedule="distilled", stop_early=1), 7, 2),
        (BOTH, 6, 2),
    ],
)
def test_only_what_is_run_is_counted(
    editor: LTX2Editor,
    conditioning: Conditioning,
    sampling: Sampling,
    forwards: int,
    backwards: int,
) -> None:
    task = problem(editor, conditioning, sampling)
    task.evaluate(torch.zeros(task.dim), gradient=True)
    spent = task.meter.spent()
    assert (spent["denoiser_forwards"], spent["denoiser_backwards"]) == (forwards, backwards)


def problem(
    editor: LTX2Editor, conditioning: Conditioning, sampling: Sampling, budget: Budget = Budget()
) -> EditProblem:
    start = editor.start(conditioning)
    return EditProblem(
        editor,
        conditioning,
        Brightness(),
        FullSpace(start),
        Objective(LIGHT, start),
        sampling=sampling,
        watch=Watch(num_frames=4),
        budget=budget,
    )


def test_other_renders_are_exact(editor: LTX2Editor, conditioning: Conditioning) -> None:
    less, exact = (problem(editor, conditioning, sampling) for sampling in (BOTH, EXACT))
    z = torch.full((1, less.dim), 0.05)
    final = exact.render(exact.space.decode(z), FULL)
    wanted, _ = gradient(editor, conditioning, EXACT)
    searched = less.evaluate(z, gradient=True, frames=True)[0].frames
    assert searched is not None
    assert torch.equal(less.render(less.space.decode(z), FULL), final)
    assert torch.equal(less.baseline, exact.baseline)
    plain = exact.evaluate(z, gradient=True, frames=True)[0].frames
    assert plain is not None
    assert not torch.allclose(searched, plain, atol=1e-3)
    assert torch.equal(gradient(editor, conditioning, BOTH.exact)[0], wanted)
    assert BOTH.exact == EXACT


def test_gradients_of_the_bundled_model_keep_their_direction() -> None:
    editor, task = LTX2Editor(device="cpu"), default_task()
    assert isinstance(task.source, Source)
    conditioning = editor.prepare(task.source.clip(), task.prompt, prefix_frames=5, seed=0)
    exact = Sampling(num_inference_steps=8, grad_steps=2)
    wanted, _ = gradient(editor, conditioning, exact)
    blocks, _ = gradient(editor, conditioning, replace(exact, refresh_blocks=2))
    early, _ = gradient(editor, conditioning, replace(exact, stop_early=1))
    assert 0.85 < cosine(blocks, wanted) < 0.99999
    assert 0.5 < cosine(early, wanted) < 0.99


class Killed(BaseException):
    """Nothing in the program catches it."""


class Mortal(LTX2Editor):
    """Dies at one of its renders."""

    left = 10**6

    def render(self, *arguments: Any, **options: Any) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return super().render(*arguments, **options)


def test_a_resumed_search_equals_the_uninterrupted_one(
    folder: Path, clip: Clip, tmp_path: Path
) -> None:
    def search(name: str, left: int) -> None:
        editor = Mortal(folder, "cpu")
        # Four steps without gradient: what a render left behind would shift the next one's.
        sampling = replace(BOTH, refresh_blocks=3)
        task = problem(editor, conditions(editor, clip), sampling, Budget(renders=4))
        editor.left = left
        journal = Journal(tmp_path / name)
        try:
            solve(task, Adam(), seed=4, journal=journal)
        finally:
            journal.close()

    search("whole", 100)
    with pytest.raises(Killed):
        search("run", 2)
    assert len(history(tmp_path / "run")) == 2
    search("run", 100)
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def test_they_are_settings() -> None:
    config = Config.resolve(assignments(["sampling.refresh_blocks=3", "sampling.stop_early=2"]))
    assert (config.sampling.refresh_blocks, config.sampling.stop_early) == (3, 2)
    assert Sampling().exact == Sampling()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh_blocks": 0}, "refresh_blocks is 0; it must be at least 1"),
        ({"stop_early": -1}, "stop_early is -1; it must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(options: Any, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        Sampling(**options)
