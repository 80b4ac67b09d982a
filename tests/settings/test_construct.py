"""Options of plugins, nested ones too, are built from their annotations or refused in a line."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from sparks import registry
from sparks.editors.levers import Levers
from sparks.editors.ltx2 import LTX2Editor
from sparks.errors import SparksError
from sparks.settings.construct import construct
from sparks.settings.layers import assignments
from sparks.signatures import option_types
from sparks.testing import check_options

KINDS = (registry.solvers, registry.critics, registry.editors, registry.spaces)
LATE = """
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from fractions import Fraction
    from sparks.editors.levers import Levers
class Plugin:
    def __init__(self, levers: Levers | None = None, share: Fraction | None = None) -> None:
        self.levers, self.share = levers, share
class Lost:
    def __init__(self, size: Nowhere = 1) -> None: ...
"""


@pytest.mark.parametrize(
    ("table", "name"), [(table, name) for table in KINDS for name in table.names()]
)
def test_every_option_of_every_plugin_can_be_checked(table: Any, name: str) -> None:
    option_types(table.get(name))


@dataclass
class Holder:
    levers: Levers = Levers()


VALUES: dict[str, Any] = {
    "attention": "_native_flash",
    "compile_backend": "eager",
    "activation_budget": 0.5,
    "keep_blocks": 2,
    "decoder_checkpointing": True,
}


@pytest.mark.parametrize("field", fields(Levers), ids=lambda field: field.name)
def test_every_lever_is_set_from_the_command_line(field: Any) -> None:
    value = VALUES.get(field.name, not field.default)
    text = {True: "true", False: "false"}.get(value, str(value))
    pairs = [f"editor.levers.{field.name}={text}"]
    pairs += ["editor.levers.compile=true"] if field.name == "activation_budget" else []
    options = assignments(pairs)["editor"]
    holder = construct("editor", Holder, options)
    assert getattr(holder.levers, field.name) == value
    assert type(getattr(holder.levers, field.name)) is type(value)


@pytest.mark.parametrize(
    ("levers", "told"),
    [
        ({"compil": True}, "unknown setting 'editor.levers.compil'; did you mean 'compile'"),
        ({"keep_blocks": -1}, "keep_blocks is -1; it must be 0 or more"),
        ({"keep_blocks": "x"}, "editor.levers.keep_blocks='x' is not usable"),
        (3, "editor.levers=3 is not usable"),
        ({"attention": "x" * 5000}, ""),
    ],
)
def test_nested_mistakes_are_one_line(levers: Any, told: str) -> None:
    if not told:
        assert construct("editor", Holder, {"levers": levers}).levers.attention
        return
    with pytest.raises(SparksError) as error:
        construct("editor", LTX2Editor, {"levers": levers}, model="pocket")
    assert told in str(error.value)
    assert len(str(error.value)) < 600


def test_annotations_for_type_checkers_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_plugin.py").write_text(LATE)
    monkeypatch.syspath_prepend(tmp_path)
    import late_plugin  # type: ignore[import-not-found]

    made = construct("solver", late_plugin.Plugin, {"levers": {"compile": True}, "share": "1/3"})
    assert made.levers == Levers(compile=True)
    assert made.share.denominator == 3
    with pytest.raises(SparksError, match=r"cannot be checked .*Nowhere.*correct its annotations"):
        construct("solver", late_plugin.Lost, {"size": 2})
    check_options(late_plugin.Plugin)
    with pytest.raises(AssertionError, match="Nowhere"):
        check_options(late_plugin.Lost)
    del sys.modules["late_plugin"]


def test_a_plugin_that_fails_as_it_is_built_is_named() -> None:
    class Late:
        def __init__(self) -> None:
            raise KeyError("nowhere")

    with pytest.raises(SparksError, match=r"solver Late failed with KeyError: 'nowhere'; SPARKS_"):
        construct("solver", Late, {})
