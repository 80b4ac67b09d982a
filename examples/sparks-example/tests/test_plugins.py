"""What sparks asks of a critic and a solver, asked of ours."""

import torch
from sparks_example.climb import HillClimb
from sparks_example.motion import Motion

from sparks.runs.cache import Cache
from sparks.runs.prepare import prepare
from sparks.testing import check_critic, check_solver


def test_motion():
    check_critic(Motion(), torch.rand(2, 5, 3, 8, 8), "it moves")


def test_hill_climb():
    settings = {
        "critic": {"name": "motion"},
        "space": {"name": "temporal"},
        "sampling": {"num_inference_steps": 2, "grad_steps": 1},
        "budget": "renders=4",
    }
    cache = Cache()  # the model is loaded once
    check_solver(HillClimb, lambda: prepare(settings, cache=cache).problem)
