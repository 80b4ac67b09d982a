"""Spatio-temporal guidance: which self-attentions of which blocks are perturbed."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2PerturbedAttnProcessor

from sparks.editors import Guidance, ModalityGuidance, Sampling
from sparks.editors.ltx2_denoiser import LTX2Denoiser, sample
from sparks.errors import SparksError
from sparks.settings.layers import assignments
from sparks.settings.schema import Config
from tests.editors import golden

STG = ModalityGuidance(stg_scale=1)
PLAIN = ModalityGuidance()
# A case whose audio is regenerated as well, so that its own perturbation shows in it.
CASE = next(c for c in golden.cases("retake_cases.json") if c["name"] == "silent_source_guided_s4")


class Perturbed(LTX2PerturbedAttnProcessor):  # type: ignore[misc]
    """Always."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        options |= {"perturbation_mask": None, "all_perturbed": True}
        return super().__call__(*arguments, **options)


def own(blocks: tuple[int, ...] | None) -> ModalityGuidance:
    return PLAIN if blocks is None else ModalityGuidance(stg_scale=1, stg_blocks=blocks)


def predicted(transformer: Any, guidance: Guidance, name: str) -> Any:
    conditioning = golden.conditioning_of(CASE)
    start = golden.start_of(conditioning)
    with torch.no_grad():
        denoiser = LTX2Denoiser(
            transformer, conditioning, start, golden.sampling_of(CASE), guidance
        )
        return denoiser.predict(name, denoiser.start(), 0.9)


@pytest.mark.parametrize(
    ("video", "audio"), [((0,), (2,)), ((1,), (0, 1, 2)), ((0, 1), None), (None, (0,))]
)
def test_each_modality_perturbs_its_own_blocks(
    video: tuple[int, ...] | None, audio: tuple[int, ...] | None
) -> None:
    transformer = deepcopy(golden.tiny_transformer())
    for block in video or ():
        transformer.transformer_blocks[block].attn1.set_processor(Perturbed())
    for block in audio or ():
        transformer.transformer_blocks[block].audio_attn1.set_processor(Perturbed())
    expected = predicted(transformer, Guidance(), "cond")
    guidance = Guidance(own(video), own(audio))
    found = predicted(golden.tiny_transformer(), guidance, "perturbed")
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    plain = predicted(golden.tiny_transformer(), Guidance(), "cond")
    assert not torch.allclose(found[0], plain[0], atol=1e-3)


@pytest.mark.parametrize(
    ("guidance", "video", "audio"),
    [
        (Guidance(STG, STG, (1, 4)), {1, 4}, {1, 4}),
        (Guidance(own((2,)), STG, (1,)), {2}, {1}),
        (Guidance(own((2,)), own((0, 3))), {2}, {0, 3}),
        (Guidance(STG, PLAIN, (1,)), {1}, set()),
        (Guidance(PLAIN, own((5,)), (1,)), set(), {5}),
        (Guidance(), set(), set()),
    ],
)
def test_shared_blocks_serve_a_modality_that_names_none(
    guidance: Guidance, video: set[int], audio: set[int]
) -> None:
    assert guidance.perturbed == (video, audio)


@pytest.mark.parametrize(
    "guidance", [Guidance(STG, STG, (0, 3)), Guidance(STG, own((3,)), (0,))], ids=["shared", "own"]
)
def test_blocks_that_the_model_lacks_are_refused(guidance: Guidance) -> None:
    conditioning = golden.conditioning_of(CASE)
    with pytest.raises(SparksError, match=r"stg_blocks has 3, but the model's last block is 2"):
        sample(
            golden.tiny_transformer(),
            conditioning,
            golden.start_of(conditioning),
            sampling=Sampling(num_inference_steps=2),
            guidance=guidance,
        )
    Guidance(PLAIN, PLAIN, (2,)).check_blocks(2)  # nothing is perturbed


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Guidance(own(()), STG, (1,)), "stg_blocks is empty"),
        (lambda: Guidance(STG, STG, (1, -1)), "stg_blocks has -1; blocks are counted from 0"),
        (lambda: Guidance(STG, own((-3,)), (1,)), "stg_blocks has -3"),
    ],
)
def test_blocks_that_cannot_be(build: Any, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        build()


def test_a_modality_names_its_blocks_in_settings() -> None:
    pairs = ["guidance.final.stg_blocks=[28]", "guidance.final.video.stg_scale=1"]
    pairs += ["guidance.final.audio={stg_scale: 1, stg_blocks: [3, 5]}"]
    config = Config.resolve(assignments(pairs))
    assert config.guidance.final.perturbed == ({28}, {3, 5})
    assert config.guidance.final.video.stg_blocks is None
