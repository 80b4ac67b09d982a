"""Settings that cannot work are refused with the way out."""

from typing import Any

import pytest

from sparks.editors import Guidance, ModalityGuidance, Sampling
from sparks.errors import SparksError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_inference_steps", 0, "num_inference_steps is 0"),
        ("grad_steps", 0, "grad_steps is 0"),
        ("schedule", "cosine", "choose ltx2 or distilled"),
        ("alpha_gradient", "full", "choose direct or reference"),
        ("frozen_audio_sigma", "one", "choose schedule or zero"),
        ("coords_dtype", "float16", "choose float32 or bfloat16"),
    ],
)
def test_sampling(field: str, value: Any, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        Sampling(**{field: value})


def test_stg_needs_blocks() -> None:
    with pytest.raises(SparksError, match="stg_blocks"):
        Guidance(video=ModalityGuidance(stg_scale=1))


def test_skip_step_is_not_negative() -> None:
    with pytest.raises(SparksError, match="skip_step is -1"):
        Guidance(skip_step=-1)


def test_unknown_name_of_the_package() -> None:
    import sparks.editors

    with pytest.raises(AttributeError, match="Painter"):
        sparks.editors.Painter  # noqa: B018
