"""YAML 1.2 whole, whatever other programs make of it."""

from pathlib import Path
from typing import Any

import pytest

from sparks.errors import SparksError
from sparks.settings.yaml import parse, read_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0777", 777),
        ("0o17", 15),
        ("0x1F", 31),
        ("-5", -5),
        ("+5", 5),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-02", "2024-01-02"),
        ("no", "no"),
        ("off", "off"),
        ("True", True),
        ("~", None),
        ("Null", None),
        ("5e-3", 0.005),
        (".inf", float("inf")),
        ("-.Inf", -float("inf")),
        ("0b11", "0b11"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    assert parse(text) == value
    assert type(parse(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["seed: 1\nclip: {fps: 9}\nseed: 2\n", "clip: {fps: 1, fps: 2}\n", "{a: 1, a: 1}"]
)
def test_a_key_stands_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SparksError, match="stands there twice"):
        read_settings(tmp_path / "a.yaml")


def test_other_encodings_are_named(tmp_path: Path) -> None:
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "a.yaml").write_text("prompt: ein Hund gähnt\n", encoding=encoding)
        with pytest.raises(SparksError, match="is not UTF-8"):
            read_settings(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("seed: 7\n", encoding="utf-8-sig")
    assert read_settings(tmp_path / "a.yaml") == {"seed": 7}
