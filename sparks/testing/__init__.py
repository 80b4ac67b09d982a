"""Conformance checks that a plugin's author can run; each raises AssertionError with the reason."""

from sparks.testing.critics import check_critic
from sparks.testing.editors import check_editor
from sparks.testing.executors import check_executor
from sparks.testing.metrics import check_metric
from sparks.testing.options import check_options
from sparks.testing.solvers import check_solver
from sparks.testing.spaces import check_space

__all__ = [
    "check_critic",
    "check_editor",
    "check_executor",
    "check_metric",
    "check_options",
    "check_solver",
    "check_space",
]
