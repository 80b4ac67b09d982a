"""The space in docs/plugins.md keeps what every space promises."""

from pathlib import Path

import pytest
import torch

from sparks import registry
from sparks.editors.controls import Controls
from tests.test_docs import blocks

PAGE = "docs/plugins.md"


def test_the_space_and_its_check_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, check = (block for block in blocks(PAGE, "python") if "Steady" in block)
    (tmp_path / "steady.py").write_text(space)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(check, PAGE, "exec"), {"__name__": "docs"})


def test_its_offsets_are_steady(tmp_path: Path) -> None:
    (tmp_path / "steady.py").write_text(blocks(PAGE, "python")[0])
    steady = registry.spaces.get(f"{tmp_path}/steady.py:Steady")
    start = Controls(torch.randn(1, 2, 5, 3), torch.zeros(1, 4, 6))
    space = steady(start, mode="audio")
    assert space.dim == 2 * 3
    moved = space.decode(torch.randn(1, 6)).alpha - start.alpha
    assert (moved[:, :, 1:] - moved[:, :, :-1]).abs().max() < 1e-6
    assert moved.abs().min() > 0
