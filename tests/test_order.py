"""The rooms stand in one order, and what a room needs lies below it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sparks"
GROUND = (
    *("registry", "signatures", "terminal", "plugins"),
    *("files", "locks", "claims", "page", "garbage", "errors"),
)
ORDER = (
    *(
        "cli",
        "studio",
        "experiments",
        "insight",
        "evaluation",
        "envs",
        "runs",
        "solvers",
        "settings",
    ),
    *("pocket", "testing", "search", "spaces", "editors", "critics", "models", "media", "ground"),
)
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def room(module: str) -> str:
    first = [*module.split("."), ""][1]
    return "ground" if first in ("", *GROUND) else first


def imports(module: str, *, outermost: bool = False) -> Iterator[tuple[str, int]]:
    """Modules of the package that one imports, anywhere or only as it is imported itself."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in tree.body if outermost else ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name if name in MODULES else node.module for name in names]
        else:
            continue
        yield from ((name, node.lineno) for name in found if name in MODULES)


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"sparks"}))
def test_a_room_imports_none_above_it(module: str) -> None:
    own = ORDER.index(room(module))
    upward = [
        f"{where} in line {line}"
        for where, line in imports(module)
        if where != "sparks" and ORDER.index(room(where)) < own
    ]
    assert not upward, f"{module} imports {upward}"


def test_no_modules_need_each_other() -> None:
    needs = {m: {name for name, _ in imports(m, outermost=True)} - {m} for m in MODULES}
    while free := {module for module, needed in needs.items() if not needed & needs.keys()}:
        needs = {module: needed for module, needed in needs.items() if module not in free}
    assert not needs, f"these import one another in a circle: {sorted(needs)}"


def test_importing_the_package_loads_neither_torch_nor_pydantic() -> None:
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import sparks"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "sparks" in told
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in told.splitlines()}
    assert not loaded & {"torch", "pydantic", "numpy", "typer", "rich"}


def test_the_public_face_is_there() -> None:
    import sparks

    for name in sparks.__all__:
        assert getattr(sparks, name) is not None
    assert callable(sparks.edit)
    assert callable(sparks.solve)


def test_the_page_on_architecture_lists_the_rooms_in_this_order() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("## The rooms")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `?(\w+)`? \|", table, flags=re.MULTILINE)[1:]
    there = {room(module) for module in MODULES}
    assert listed == [name for name in ORDER if name in there]
    assert not [name for name in GROUND if f"`{name}`" not in table]
