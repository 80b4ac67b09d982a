"""What is built holds all that is needed."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_no_module_is_left_out(kind: str) -> None:
    builders = pytest.importorskip(f"hatchling.builders.{kind}")
    builder = getattr(builders, f"{kind.capitalize()}Builder")(str(ROOT))
    packed = {Path(file.path) for file in builder.recurse_included_files()}
    modules = {path for path in (ROOT / "sparks").rglob("*.py") if "__pycache__" not in path.parts}
    assert modules - packed == set()
