"""Plain settings and the YAML that they are written in."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from sparks.errors import SparksError
from sparks.files import place

Settings = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML 1.2: 5e-3 is a number, 010 is ten, yes, no and dates are words; no key is said twice.

    No aliases: a few lines of them can stand for more values than memory holds, or for one that
    contains itself.
    """

    def compose_node(self, *where: Any) -> Any:
        """The next value."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias; write the value again instead")
        return super().compose_node(*where)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A table, each of whose keys stands once."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"the key {twice[0]!r} stands there twice")
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: Any) -> int:
        """Decimal, 0o17 or 0x1F."""
        text = str(self.construct_scalar(node))
        return int(text, 0 if text.lstrip("+-").startswith(("0o", "0x")) else 10)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse(text: str) -> Any:
    """The value that `text` writes.

    Raises:
        ValueError: it is no YAML, or has a date or number that does not exist.
    """
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # explicit tags, dates and depth make PyYAML fail in many ways
        raise ValueError(" ".join(str(error).split())) from None


def read_settings(source: str | Path) -> Settings:
    """Settings of a YAML file, ours or one of the paper's code, or of a preset by its name.

    Raises:
        SparksError: no such file or preset, or it holds no settings.
    """
    settings = read_raw(source)
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise SparksError(f"{source} holds a {type(settings).__name__}; write key: value lines")
    from sparks.settings.authors import MARK, read

    return read(settings, source) if MARK in settings else settings


def read_raw(source: str | Path) -> Any:
    """What a YAML file or preset holds.

    Raises:
        SparksError: no such file or preset, or it is not YAML.
    """
    path = _preset(str(source)) or place(str(source))
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SparksError(f"{source} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        names = ", ".join([*(n for n in presets() if "/" not in n), f"{_SCENARIOS}/NAME"])
        raise SparksError(f"no settings at {source}; give a YAML file or one of {names}") from error
    except ValueError as error:
        raise SparksError(f"{source} is not valid YAML: {error}") from error


_SCENARIOS = "scenarios"


def presets() -> list[str]:
    """Names of the settings that ship with the package; the paper's edits are `scenarios/...`."""
    folder = Path(str(resources.files("sparks") / "configs"))
    return sorted(str(path.relative_to(folder))[:-5] for path in folder.rglob("*.yaml"))


def _preset(name: str) -> Path | None:
    path = Path(str(resources.files("sparks") / "configs")) / f"{name}.yaml"
    return path if name in presets() else None
