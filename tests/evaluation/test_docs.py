"""The metric in docs/plugins.md keeps what every metric promises."""

from pathlib import Path

import pytest

from tests.test_docs import blocks

PAGE = "docs/plugins.md"


def test_the_metric_and_its_check_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, check = (block for block in blocks(PAGE, "python") if "Brighter" in block)
    (tmp_path / "brighter.py").write_text(metric)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(check, PAGE, "exec"), {"__name__": "docs"})
