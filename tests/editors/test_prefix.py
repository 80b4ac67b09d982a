"""Steps without gradient that are run anew only every few renders of a search."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sparks.editors import Guidance, LTX2Editor, ModalityGuidance, Sampling
from sparks.editors.conditioning import Conditioning
from sparks.editors.controls import Controls
from sparks.errors import SparksError
from sparks.media.clip import Clip

SAMPLING = Sampling(num_inference_steps=4, grad_steps=2, refresh_prefix=3)


@pytest.fixture(scope="module")
def conditioning(editor: LTX2Editor, clip: Clip) -> Conditioning:
    return editor.prepare(clip, "a red ball jumps", prefix_frames=5, seed=3)


def moved(editor: LTX2Editor, conditioning: Conditioning, by: float) -> Controls:
    start = editor.start(conditioning)
    return Controls((start.alpha + by).requires_grad_(), start.delta_v.requires_grad_())


def render(
    editor: LTX2Editor, conditioning: Conditioning, sampling: Sampling, by: float, **options: Any
) -> tuple[Tensor, Tensor, int]:
    """Frames, the gradient for alpha, and how many forwards it took."""
    before, controls = editor.forwards, moved(editor, conditioning, by)
    frames = editor.render(conditioning, controls, sampling=sampling, gradient=True, **options)
    (gradient,) = torch.autograd.grad(frames.square().sum(), controls.alpha)
    return frames.detach(), gradient, editor.forwards - before


@pytest.mark.parametrize("schedule", ["ltx2", "distilled"])
def test_when_every_step_carries_gradient_all_are_run(
    editor: LTX2Editor, conditioning: Conditioning, schedule: Any
) -> None:
    every = replace(SAMPLING, grad_steps=8, schedule=schedule)
    own = replace(conditioning)
    for by in (0.0, 0.1, 0.1):
        found = render(editor, own, every, by)
        wanted = render(editor, conditioning, replace(every, refresh_prefix=1), by)
        assert found[2] == wanted[2] == len(every.sigmas) - 1
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])


def test_equal_conditionings_share_nothing(editor: LTX2Editor, conditioning: Conditioning) -> None:
    one, other = replace(conditioning), replace(conditioning)
    alone = [render(editor, one, SAMPLING, by) for by in (0.0, 0.1, 0.2, 0.3)]
    assert [forwards for _, _, forwards in alone] == [4, 2, 2, 4]
    again = [render(editor, other, SAMPLING, by) for by in (0.0, 0.1, 0.2, 0.3)]
    for (frames, gradient, forwards), found in zip(alone, again, strict=True):
        assert found[2] == forwards
        assert torch.equal(found[0], frames)
        assert torch.equal(found[1], gradient)


def test_searches_may_take_turns(editor: LTX2Editor, conditioning: Conditioning) -> None:
    one, other = replace(conditioning), conditioning.with_noise(4)
    turns = [(each, by) for by in (0.0, 0.1) for each in (one, other)]
    found = [render(editor, each, SAMPLING, by) for each, by in turns]
    assert [forwards for _, _, forwards in found] == [4, 4, 2, 2]
    alone = [render(editor, replace(other), SAMPLING, 0.0)[0], found[1][0]]
    assert torch.equal(*alone)


def test_what_was_remembered_goes_with_the_conditioning(
    editor: LTX2Editor, conditioning: Conditioning
) -> None:
    before = len(editor._prefixes._prefixes)
    own = replace(conditioning)
    render(editor, own, SAMPLING, 0.0)
    assert len(editor._prefixes._prefixes) == before + 1
    del own
    assert len(editor._prefixes._prefixes) == before


def test_a_skipped_step_takes_what_was_predicted_before_it(
    editor: LTX2Editor, conditioning: Conditioning
) -> None:
    sampling = replace(SAMPLING, num_inference_steps=5)
    guidance = Guidance(ModalityGuidance(guidance_scale=2), skip_step=1)
    own = replace(conditioning)
    first, _, forwards = render(editor, own, sampling, 0.0, guidance=guidance)
    assert forwards == 6  # steps 0, 2 and 4, two passes each
    again, _, forwards = render(editor, own, sampling, 0.0, guidance=guidance)
    assert forwards == 2  # step 4 alone
    assert torch.equal(again, first)


@pytest.mark.parametrize("skip_step", [2, 3, 99])
def test_steps_that_are_all_skipped_have_no_gradient(
    editor: LTX2Editor, conditioning: Conditioning, skip_step: int
) -> None:
    sampling = Sampling(num_inference_steps=4, grad_steps=1)
    guidance = Guidance(skip_step=skip_step)
    if skip_step == 2:  # steps 0 and 3
        assert render(editor, conditioning, sampling, 0.0, guidance=guidance)[1].any()
        return
    with pytest.raises(SparksError, match=rf"skip_step is {skip_step}: none of the last 1 of 4"):
        render(editor, conditioning, sampling, 0.0, guidance=guidance)
    start = editor.start(conditioning)
    editor.render(conditioning, start, sampling=sampling, guidance=guidance)  # without, it may
