"""The Python of docs/environment.md runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "environment.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 5
    code = "\n".join(BLOCKS).replace("16", "2").replace("learn(64)", "learn(2)")
    exec(compile(code, str(PAGE), "exec"), {})
    assert len(list(Path("videos").glob("*.mp4"))) == 1
