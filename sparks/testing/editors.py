"""The check of an editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from sparks.editors.base import Editor
    from sparks.editors.conditioning import Conditioning
    from sparks.editors.controls import Controls
    from sparks.editors.schedule import Sampling
    from sparks.media.clip import Clip


def check_editor(
    editor: Editor,
    clip: Clip,
    prompt: str,
    *,
    prefix_frames: int = 1,
    sampling: Sampling | None = None,
    atol: float = 1e-3,
) -> None:
    """Check that `editor` keeps the promises of `Editor` on one clip, with sound if it has audio.

    Args:
        clip: of a size and length that the editor takes.
        prompt: of the edit.
        prefix_frames: K, the frames to keep.
        sampling: few steps, some with gradient; 2 and 1 by default.
        atol: how much frames may differ between a batch and its candidates one by one, and must
            between candidates.

    Raises:
        AssertionError: something missing, controls or frames of wrong shape or range, not
            repeatable, candidates that influence one another, controls or noise that do nothing,
            or something to what is kept, wrong counters, or a missing gradient.
    """
    import torch

    from sparks.editors.base import Editor
    from sparks.editors.schedule import Sampling
    from sparks.registry import declared, defaults

    promised = [name for name in vars(Editor) if name[0] != "_" and name not in defaults(Editor)]
    missing = [name for name in promised if not hasattr(editor, name)]
    assert not missing, f"the editor lacks {', '.join(missing)}"
    has_audio = declared(editor, Editor, "has_audio")
    sampling = sampling or Sampling(num_inference_steps=2, grad_steps=1)
    given = editor.prepare(clip, prompt, prefix_frames=prefix_frames, seed=0)
    assert (given.prompt, given.num_frames) == (prompt, len(clip.frames)), (
        f"prepare says {given.prompt!r} and {given.num_frames} frames of {prompt!r} and "
        f"{len(clip.frames)}"
    )
    start = editor.start(given)
    _check_start(start, has_audio)
    pair = _moved(start)
    before = (editor.forwards, editor.backwards)
    frames = editor.render(given, pair, sampling=sampling)
    assert editor.forwards >= before[0] + 2, "a render of two is not counted in `forwards`"
    assert editor.backwards == before[1], "`backwards` counts a render without gradient"
    _check_frames(frames, clip)
    assert torch.equal(frames, editor.render(given, pair, sampling=sampling)), (
        "the same controls rendered twice differ"
    )
    assert _apart(frames[0], frames[1]) > atol, "other controls make the same frames"
    alone = editor.render(given, start, sampling=sampling)[0]
    apart = _apart(alone, frames[0])
    assert apart <= atol, f"a candidate in a batch and alone differ by {apart:g}"
    _check_conditioning(editor, given, start, sampling, alone, atol)
    _check_gradient(editor, given, pair, sampling, frames, atol)
    if has_audio:
        _check_sound(editor, clip, prompt, start, sampling)


def _apart(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


def _check_start(start: Controls, has_audio: bool) -> None:
    assert start.batch == len(start.delta_v) == 1, "start is not a batch of one"
    assert start.alpha.ndim == 4, f"alpha is {tuple(start.alpha.shape)}, not [1, C, T, M]"
    assert start.delta_v.ndim == 3, f"delta_v is {tuple(start.delta_v.shape)}, not [1, L, D]"
    assert start.has_audio == has_audio, (
        f"has_audio is {has_audio}, and alpha of the start is {tuple(start.alpha.shape)}"
    )
    assert start.alpha.isfinite().all(), "alpha of the start is not finite"
    assert not start.delta_v.any(), "delta_v of the start is not zero"


def _moved(start: Controls) -> Controls:
    """The start, and something else."""
    import torch

    from sparks.editors.controls import Controls

    generator = torch.Generator().manual_seed(0)

    def pair(value: Tensor) -> Tensor:
        offset = torch.randn(value.shape, generator=generator).to(value)
        return torch.cat([value, value + offset])

    return Controls(pair(start.alpha), pair(start.delta_v))


def _check_frames(frames: Tensor, clip: Clip) -> None:
    wanted = (2, *clip.frames.shape)
    assert frames.shape == wanted, f"frames are {tuple(frames.shape)}, not {wanted}"
    low, high = frames.min().item(), frames.max().item()
    assert 0 <= low <= high <= 1, f"frames reach from {low:g} to {high:g}, not within [0, 1]"
    assert not frames.requires_grad, "frames carry a gradient that was not asked for"


def _check_conditioning(
    editor: Editor,
    given: Conditioning,
    start: Controls,
    sampling: Sampling,
    alone: Tensor,
    atol: float,
) -> None:
    """Under other noise, under a noise for each candidate, and with everything kept."""
    from sparks.editors.controls import Controls

    other = editor.render(given.with_noise(1), start, sampling=sampling)[0]
    assert _apart(alone, other) > atol, "other noise makes the same frames"
    twice = Controls(start.alpha.repeat(2, 1, 1, 1), start.delta_v.repeat(2, 1, 1))
    both = editor.render(given.with_noises([0, 1]), twice, sampling=sampling)
    apart = max(_apart(both[0], alone), _apart(both[1], other))
    assert apart <= atol, f"a noise for each candidate and the same alone differ by {apart:g}"
    all_kept = editor.render(given.with_all_kept(), _moved(start), sampling=sampling)
    apart = _apart(all_kept[0], all_kept[1])
    assert apart <= atol, f"with everything kept, controls change frames by {apart:g}"


def _check_gradient(
    editor: Editor,
    given: Conditioning,
    pair: Controls,
    sampling: Sampling,
    frames: Tensor,
    atol: float,
) -> None:
    from sparks.editors.controls import Controls

    leaves = [value.clone().requires_grad_() for value in (pair.alpha, pair.delta_v)]
    before = editor.backwards
    again = editor.render(given, Controls(*leaves), sampling=sampling, gradient=True)
    apart = _apart(again, frames)
    assert apart <= atol, f"frames with and without gradient differ by {apart:g}"
    again[0].square().sum().backward()
    assert editor.backwards > before, "a backward is not counted in `backwards`"
    named = zip(("alpha", "delta_v"), leaves, strict=True)
    for name, leaf in ((name, leaf) for name, leaf in named if leaf.numel()):
        assert leaf.grad is not None, f"no gradient reaches {name}"
        assert leaf.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert leaf.grad[0].any(), f"the gradient of {name} is zero"
        assert not leaf.grad[1].any(), "the frames of one candidate depend on another"


def _check_sound(
    editor: Editor, clip: Clip, prompt: str, start: Controls, sampling: Sampling
) -> None:
    imagined = editor.synthesise_audio(clip, prompt, sampling=sampling)
    assert imagined.shape == start.alpha.shape, (
        f"synthesise_audio makes {tuple(imagined.shape)}, not {tuple(start.alpha.shape)}"
    )
    waveform, rate = editor.decode_audio(start.alpha)
    assert waveform.ndim == 2, f"decode_audio makes {tuple(waveform.shape)}, not [C, N]"
    assert rate > 0, f"decode_audio says {rate} samples a second"
