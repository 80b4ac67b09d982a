"""What is built holds all that is needed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def packed(kind: str) -> set[str]:
    """What is built, by path in the repository."""
    builders = pytest.importorskip(f"hatchling.builders.{kind}")
    builder = getattr(builders, f"{kind.capitalize()}Builder")(str(ROOT))
    return {file.relative_path for file in builder.recurse_included_files()}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_no_module_is_left_out(kind: str) -> None:
    paths = (ROOT / "sparks").rglob("*.py")
    modules = {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}
    assert modules - packed(kind) == set()


def test_the_source_distribution_holds_what_its_tests_read() -> None:
    there = packed("sdist")
    for tests in (ROOT / "tests").rglob("*.py"):
        for path in re.findall(r'ROOT((?: / "[^"]+")+)', tests.read_text(encoding="utf-8")):
            wanted = "/".join(re.findall(r'"([^"]+)"', path))
            assert any(name == wanted or name.startswith(wanted + "/") for name in there), wanted
    assert {"CONTRIBUTING.md", "mkdocs.yml", ".pre-commit-config.yaml"} <= there
