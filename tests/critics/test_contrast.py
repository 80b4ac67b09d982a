"""CLIP and X-CLIP as critics, on small random models of the real classes."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPImageProcessor, VideoMAEImageProcessor

from sparks.critics.contrast import ClipCritic, Pixels, XClipCritic
from sparks.errors import SparksError
from sparks.testing import check_critic
from tests.critics.conftest import OTHER, PROMPTS, STILL

PROMPT = PROMPTS[0]


@pytest.fixture(scope="module")
def clip(folders: dict[str, Path]) -> ClipCritic:
    return ClipCritic(folders["clip"], static_prompt=STILL)


@pytest.fixture(scope="module")
def xclip(folders: dict[str, Path]) -> XClipCritic:
    return XClipCritic(folders["xclip"], static_prompt=STILL)


@pytest.mark.parametrize("name", ["clip", "xclip"])
def test_they_keep_the_promises_of_a_critic(
    name: str, frames: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    check_critic(request.getfixturevalue(name), frames, PROMPT)


def processors() -> list[CLIPImageProcessor | VideoMAEImageProcessor]:
    crop = {"height": 48, "width": 48}
    return [
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=crop),
        CLIPImageProcessor(size={"height": 40, "width": 56}, crop_size=crop),
        CLIPImageProcessor(size={"shortest_edge": 33}, do_center_crop=False),
        VideoMAEImageProcessor(size={"shortest_edge": 48}, crop_size=crop),
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("shape", [(48, 48), (64, 96), (97, 65), (31, 44)])
def test_pixels_equal_the_image_processor(number: int, shape: tuple[int, int]) -> None:
    processor = processors()[number]
    frames = torch.rand(3, 3, *shape, generator=torch.Generator().manual_seed(2))
    theirs = processor(list(frames), do_rescale=False, return_tensors="pt")["pixel_values"]
    ours = Pixels.of(processor)(frames[None])
    assert torch.allclose(ours, theirs.view_as(ours), atol=1e-5)


def test_pixels_are_close_to_the_processor_of_bytes() -> None:
    """Rounding before and after resizing is all that differs, where nothing is clipped."""
    frames = 0.25 + 0.5 * torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(2))
    processor = processors()[0]
    theirs = processor(list((255 * frames).round().byte()), return_tensors="pt")["pixel_values"]
    assert (Pixels.of(processor)(frames[None])[0] - theirs).abs().max() < 0.02


def test_a_processor_that_resizes_otherwise_is_refused() -> None:
    with pytest.raises(SparksError, match="filter 1; give a critic model"):
        Pixels.of(CLIPImageProcessor(resample=1))


def test_clip_is_the_zero_shot_probability_of_the_mean_logits(
    clip: ClipCritic, folders: dict[str, Path], frames: torch.Tensor
) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folders["clip"])
    texts = AutoTokenizer.from_pretrained(folders["clip"])(
        [PROMPT, STILL], padding=True, return_tensors="pt"
    )
    images = AutoImageProcessor.from_pretrained(folders["clip"])(
        list(frames[0, ::6]), do_rescale=False, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**images, **texts).logits_per_image.mean(0)
    odds = clip.log_odds(frames[:1], PROMPT, range(0, 25, 6))
    assert torch.allclose(odds.sigmoid(), logits.softmax(0)[:1], atol=1e-5)
    assert abs(odds.item()) > 0.01


def test_xclip_is_the_zero_shot_probability(folders: dict[str, Path], frames: torch.Tensor) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, XCLIPModel

    model = XCLIPModel.from_pretrained(folders["xclip"])
    texts = AutoTokenizer.from_pretrained(folders["xclip"])(
        [PROMPT, STILL, OTHER], padding=True, return_tensors="pt"
    )
    looked = [0, 5, 10, 15, 20, 24]
    video = AutoImageProcessor.from_pretrained(folders["xclip"])(
        list(frames[0, looked]), do_rescale=False, return_tensors="pt"
    )["pixel_values"]
    with torch.no_grad():
        expected = model(pixel_values=video[None], **texts).logits_per_video.softmax(1)[0, 0]
    critic = XClipCritic(folders["xclip"], contrast=[STILL, OTHER], scale=2.0)
    odds = critic.log_odds(frames[:1], PROMPT, looked)
    assert odds.item() == pytest.approx(2 * expected.logit().item(), abs=1e-3)


def test_xclip_spreads_its_frames_over_those_it_is_shown(
    xclip: XClipCritic, frames: torch.Tensor
) -> None:
    every = xclip.log_odds(frames, PROMPT, range(25))
    assert torch.equal(every, xclip.log_odds(frames, PROMPT, [0, 5, 10, 14, 19, 24]))
    assert xclip.log_odds(frames, PROMPT, [3, 4]).shape == (2,)  # each several times


def test_a_video_can_be_brought_nearer_to_the_prompt(
    clip: ClipCritic, xclip: XClipCritic, frames: torch.Tensor
) -> None:
    for critic in (clip, xclip):
        video = frames[:1].clone().requires_grad_()
        before = critic.log_odds(video, PROMPT)
        (gradient,) = torch.autograd.grad(before.sum(), video)
        nearer = (video + 0.02 * gradient.sign()).clamp(0, 1).detach()
        assert critic.log_odds(nearer, PROMPT) > before


def test_the_contrast_given_wins_over_the_static_prompt(
    folders: dict[str, Path], frames: torch.Tensor
) -> None:
    critic = ClipCritic(folders["clip"], static_prompt=STILL, contrast=[OTHER])
    assert critic.contrast == [OTHER]
    # A contrast that is the very question says nothing and is left out.
    alone = critic.log_odds(frames, PROMPT)
    critic.contrast = [OTHER, PROMPT]
    assert torch.equal(alone, critic.log_odds(frames, PROMPT))


def test_mistakes_are_told(folders: dict[str, Path], folder: Path, frames: torch.Tensor) -> None:
    with pytest.raises(SparksError, match=r"nothing to contrast 'a red .*--static-prompt"):
        XClipCritic(folders["xclip"]).log_odds(frames, PROMPT)
    with pytest.raises(SparksError, match=r"is a qwen2_5_vl, not a clip; .*clip-vit-base-patch32"):
        ClipCritic(folder)
    with pytest.raises(SparksError, match=r"is a clip, not a xclip; .*microsoft/xclip"):
        XClipCritic(folders["clip"])
    with pytest.raises(SparksError, match="no critic model at 'nowhere'"):
        ClipCritic("nowhere")
    with pytest.raises(SparksError, match="unknown frame sampling 'often'"):
        ClipCritic(folders["clip"], sampling="often")
    with pytest.raises(SparksError, match="scale is 0"):
        ClipCritic(folders["clip"], scale=0)


def test_long_prompts_are_cut_as_clip_was_trained(clip: ClipCritic, frames: torch.Tensor) -> None:
    """With the end token kept, or the two could not differ from an earlier word on."""
    long = clip.log_odds(frames, " ".join(["ball"] * 50))
    assert long.isfinite().all()
    assert not torch.equal(long, clip.log_odds(frames, "ball"))
