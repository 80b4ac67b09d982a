"""The check of a metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparks.search.metrics import Edited, Measurement, Metric


def check_metric(metric: Metric, edited: Edited) -> None:
    """Check that `metric` keeps the promises of `Metric` on one pair.

    Args:
        edited: an edit beside its source.

    Raises:
        AssertionError: no group, figures other than those announced, not finite, not repeatable,
            changed input, or a failure where edit and source are the same.
    """
    from dataclasses import replace

    assert isinstance(metric.group, str) and metric.group, f"group is {metric.group!r}, not a name"  # noqa: PT018
    assert metric.figures, "figures is empty: there would be no column"
    for name, figure in metric.figures.items():
        assert name.isidentifier(), f"figure {name!r} cannot be a column; use letters and _"
        assert figure.better in ("lower", "higher", None), f"{name} is better {figure.better!r}"
        f"{0.0:{figure.form}}"  # raises ValueError for a form that is none
    before = (edited.source.frames.clone(), edited.edit.frames.clone())
    figures = _measured(metric, edited)
    for was, clip in zip(before, (edited.source, edited.edit), strict=True):
        assert was.equal(clip.frames), "measure changed the frames it was given"
    again = _measured(metric, replace(edited, shared={}))
    assert figures.figures == again.figures, (
        f"the same pair gave {dict(figures.figures)}, then {dict(again.figures)}"
    )
    _measured(metric, replace(edited, edit=edited.source, shared={}))


def _measured(metric: Metric, edited: Edited) -> Measurement:
    figures = metric.measure(edited)
    assert set(figures.figures) == set(metric.figures), (
        f"measure gives {sorted(figures.figures)}, figures announces {sorted(metric.figures)}"
    )
    for name, value in figures.figures.items():
        assert value is None or math.isfinite(value), f"{name} is {value}; give None instead"
    return figures
