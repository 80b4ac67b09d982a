import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparks.cli import app
from sparks.errors import SparksError
from sparks.registry import Registry, critics, editors, solvers, spaces
from sparks.settings.construct import construct


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a distribution on the path: its entry points for solvers and its one module's source."""

    def add(dist: str, points: str, source: str = "") -> None:
        site = tmp_path / dist
        info = site / f"{dist}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[sparks.solvers]\n{points}\n")
        (site / f"{dist}_module.py").write_text(source)
        monkeypatch.syspath_prepend(site)

    yield add
    for name in [name for name in sys.modules if name.endswith("_module")]:
        del sys.modules[name]


def test_a_decorated_class_is_found() -> None:
    registry = Registry("solvers")

    @registry.register("hill")
    class Hill:
        pass

    assert registry.get("hill") is Hill
    assert "hill" in registry.names()
    assert "this program" in registry.origin("hill")


def test_a_variant_is_an_option() -> None:
    registry = Registry("solvers")

    @registry.register("hill")
    class Hill:
        def __init__(self, *, variant: str = "steep", step: float = 1) -> None:
            self.variant, self.step = variant, step

    registry.register("plain")(lambda: None)
    assert registry.get("hill/flat")().variant == "flat"
    made = construct("solver", registry.get("hill/flat"), {"step": 2})
    assert (made.variant, made.step) == ("flat", 2.0)
    with pytest.raises(SparksError, match="step='big'"):
        construct("solver", registry.get("hill/flat"), {"step": "big"})
    with pytest.raises(SparksError, match="no solvers named 'hole'"):
        registry.get("hole/deep")
    with pytest.raises(SparksError, match="'plain' in solvers has no variants"):
        registry.get("plain/odd")


def test_a_taken_name_names_both_sides() -> None:
    registry = Registry("solvers")
    registry.register("dictionary")(dict)
    registry.register("dictionary")(dict)
    with pytest.raises(SparksError, match=r"builtins:dict.*builtins:list"):
        registry.register("dictionary")(list)
    assert registry.get("dictionary") is dict


def test_an_installed_plugin_is_imported_only_when_asked_for(install) -> None:
    install("alpha", "climb = alpha_module:Climb", "class Climb: pass")
    registry = Registry("solvers")
    assert "climb" in registry.names()
    assert registry.origin("climb") == "alpha_module:Climb (alpha 1.2)"
    assert "alpha_module" not in sys.modules
    assert registry.get("climb").__name__ == "Climb"


def test_two_packages_with_one_name(install) -> None:
    install("alpha", "climb = alpha_module:Climb", "class Climb: pass")
    install("beta", "climb = beta_module:Climb\nwalk = beta_module:Climb", "class Climb: pass")
    registry = Registry("solvers")
    with pytest.raises(SparksError, match=r"alpha 1\.2.*beta 1\.2|beta 1\.2.*alpha 1\.2"):
        registry.get("climb")
    assert registry.get("walk").__name__ == "Climb"
    assert registry.get("alpha_module:Climb").__module__ == "alpha_module"


def test_a_decorator_cannot_take_an_installed_name(install) -> None:
    install("alpha", "climb = alpha_module:Climb", "class Climb: pass")
    with pytest.raises(SparksError, match=r"alpha 1\.2.*builtins:dict"):
        Registry("solvers").register("climb")(dict)


def test_an_installed_plugin_may_also_decorate_itself(install) -> None:
    source = "from sparks.registry import solvers\n@solvers.register('own')\nclass Own: pass"
    install("alpha", "own = alpha_module:Own", source)
    assert solvers.get("own") is solvers.get("own")
    del solvers._local["own"]


def test_a_broken_plugin_is_reported_and_breaks_nothing_else(install) -> None:
    install("alpha", "broken = alpha_module:Climb", "import no_such_thing")
    install("beta", "climb = beta_module:Climb\ngone = beta_module:Gone", "class Climb: pass")
    registry = Registry("solvers")
    assert {"broken", "climb", "gone"} <= set(registry.names())
    assert registry.get("climb").__name__ == "Climb"
    with pytest.raises(SparksError, match=r"'broken' of alpha 1\.2.*no_such_thing"):
        registry.get("broken")
    problems = registry.broken()
    assert {"broken", "gone"} <= set(problems)
    assert "climb" not in problems


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Mine:\n    x: 'int' = 3\n"
    )
    found = Registry("solvers").get(f"{file}:Mine")
    assert found().x == 3
    assert Registry("solvers").get(f"{file}:Mine") is found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no.such.module:Name", "no.such.module:Name.*ModuleNotFoundError"),
        ("collections:Nothing", "Nothing"),
        ("nowhere/file.py:Name", "FileNotFoundError"),
        ("math:pi", "float.*class or a function"),
        (":Name", ":Name"),
    ],
)
def test_bad_specifications(spec: str, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        Registry("solvers").get(spec)


def test_a_file_that_fails_can_be_corrected(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("1 / 0")
    with pytest.raises(SparksError, match="ZeroDivisionError"):
        Registry("solvers").get(f"{file}:Name")
    file.write_text("class Name: pass  # corrected")
    assert Registry("solvers").get(f"{file}:Name").__name__ == "Name"


def test_an_unknown_name_lists_the_known_and_a_near_one() -> None:
    registry = Registry("solvers")
    registry.register("hillclimb")(dict)
    with pytest.raises(SparksError, match=r"'hilclimb'; did you mean 'hillclimb'\?.*module:Name"):
        registry.get("hilclimb")


def test_the_four_registries() -> None:
    assert [each.kind for each in (solvers, critics, editors, spaces)] == [
        "solvers",
        "critics",
        "editors",
        "spaces",
    ]


def test_listing_names_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sparks.registry import critics; critics.names(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def listed() -> dict[tuple[str, str], dict[str, str | None]]:
    done = CliRunner().invoke(app, ["plugins", "--json"])
    assert done.exit_code == 0, done.exception
    return {(plugin["kind"], plugin["name"]): plugin for plugin in json.loads(done.stdout)}


def test_the_command_lists_every_kind_and_what_is_wrong(install) -> None:
    install("alpha", "broken = alpha_module:Climb", "import no_such_thing")
    install("beta", "climb = beta_module:Climb\nadam = beta_module:Climb", "class Climb: pass")
    install("gamma", "leaves = gamma_module:Climb", "import sys; sys.exit(0)")
    found = listed()
    climb = {"origin": "beta_module:Climb", "version": "beta 1.2", "problem": None}
    assert found["solver", "climb"] == {"kind": "solver", "name": "climb", **climb}
    assert "No module named 'no_such_thing'" in (found["solver", "broken"]["problem"] or "")
    assert "SystemExit: 0" in (found["solver", "leaves"]["problem"] or "")
    twice = found["solver", "adam"]
    assert {"beta_module:Climb", "sparks.solvers.adam:Adam"} == set(twice["origin"].split(" and "))
    assert "is claimed by" in (twice["problem"] or "")
    for kind, name in (("critic", "qwen"), ("editor", "ltx2"), ("space", "full")):
        assert found[kind, name]["problem"] is None
        assert (found[kind, name]["version"] or "").startswith("sound-sparks ")


def test_the_command_prints_a_table(install) -> None:
    install("alpha", "broken = alpha_module:Climb", "import no_such_thing")
    out = CliRunner().invoke(app, ["plugins"], env={"COLUMNS": "200"}).stdout
    assert "problem" in out.splitlines()[0]
    (row,) = (line for line in out.splitlines() if "alpha_module:Climb" in line)
    assert row.split()[:3] == ["solver", "broken", "alpha_module:Climb"]
    assert "no_such_thing" in out
