"""Settings from several places, later ones winning, and what files among them may not say."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from sparks import registry
from sparks.errors import SparksError
from sparks.search.evaluation import Watch
from sparks.settings.yaml import Settings, parse, read_settings

# What is edited, on what, and who is told of it: not for a model to say, as anyone can make one.
_THE_USERS = (
    *("video", "prompt", "static_prompt", "audio_prompt", "window", "model", "device", "seed"),
    *("screen", "sound", "preview_every", "keep", "listeners"),
)


class Whole(dict[str, Any]):
    """A section that takes nothing from the layers below it."""


yaml.SafeDumper.add_representer(Whole, yaml.SafeDumper.represent_dict)


def merge(*layers: Settings) -> Settings:
    """Later layers win, key by key; a plugin takes no options of one with another name.

    An empty section, `{}`, takes nothing from below: it is at its defaults, and what a later layer
    says is all that it has. How renders are shown to a critic (`sparks.search.evaluation.Watch`) is
    no option of the critic.
    """
    result: Settings = {}
    for layer in layers:
        for ours, theirs in (("window", "prefix_frames"), ("prefix_frames", "window")):
            if layer.get(ours) is not None:
                result.pop(theirs, None)
        result = _merged(result, layer)
    return result


def _merged(lower: Settings, upper: Settings) -> Settings:
    result = type(lower)(lower)
    for key, value in upper.items():
        result[key] = _combined(key, result.get(key), value)
    return result


def _combined(key: str, below: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if isinstance(value, Whole) or not value:
        return Whole(value)
    if not isinstance(below, dict):
        return _merged({}, value)
    if value.get("name", below.get("name")) != below.get("name"):
        shared = [field.name for field in fields(Watch)] if key == "critic" else []
        return {name: below[name] for name in shared if name in below} | _merged({}, value)
    return _merged(below, value)


def assignments(pairs: Iterable[str], option: str = "--set") -> Settings:
    """Settings of `a.b=value` pairs of an option; values are read as YAML.

    Raises:
        SparksError: a pair without `=`, or a value that is no YAML.
    """
    result: Settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise SparksError(
                f"{option} {pair!r} is no assignment; write key=value, e.g. solver.lr=0.01"
            )
        try:
            value = parse(text)
        except ValueError as error:
            raise SparksError(f"{option} {pair!r}: {text!r} is not valid YAML; quote it") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        result = _joined(result, value)
    return result


def _joined(first: Settings, second: Settings) -> Settings:
    """What two assignments say together: a plugin and its options are named in any order."""
    result = type(first)(first)
    for key, value in second.items():
        if value == {}:
            result[key] = Whole()
        elif isinstance(value, dict):
            earlier = result.get(key)
            result[key] = _joined(earlier if isinstance(earlier, dict) else {}, value)
        else:
            result[key] = value
    return result


def recommended(folder: Path | str) -> Settings:
    """What the model in `folder` is best run with: its `sparks.yaml`, if it has one.

    Raises:
        SparksError: it cannot be read, or says what only the user may.
    """
    path = Path(folder) / "sparks.yaml"
    told = read_settings(path) if path.is_file() else {}
    if theirs := [key for key in told if key in _THE_USERS]:
        raise SparksError(
            f"{path} says {theirs[0]}, which is not for a model to say; remove it there"
        )
    return told


def layers(
    configs: Iterable[str],
    options: Mapping[str, Any],
    pairs: Iterable[str],
    before: Mapping[str, Settings] | None = None,
) -> Settings:
    """The user's settings: what came before, files and presets, options, then `--set`.

    Args:
        configs: files and presets.
        options: see `typed`.
        pairs: of `--set`.
        before: settings of other files by their names, below all else.

    Raises:
        SparksError: see `read_settings`, `typed` and `without_code`.
    """
    said = typed(options, pairs)
    files = {**(before or {}), **{str(config): read_settings(config) for config in configs}}
    return merge(*(without_code(read, path, said) for path, read in files.items()), said)


def typed(options: Mapping[str, Any], pairs: Iterable[str]) -> Settings:
    """What was said on the command line: options that were given, then `--set`.

    `solver` is a plugin's name, `critic` one or a model, `window` is `START:END`.

    Raises:
        SparksError: see `assignments`, or a window of another form.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if "solver" in given:
        given["solver"] = {"name": given["solver"]}
    if "critic" in given:
        given["critic"] = _critic(given["critic"])
    if "window" in given:
        given["window"] = _window(given["window"])
    return merge(given, assignments(pairs))


def without_code(settings: Settings, source: Path | str, named: Settings) -> Settings:
    """`settings` of a file, which choose among installed plugins but bring no code of their own.

    Args:
        settings: what the file says.
        source: the file.
        named: what the user has typed, which may name any code.

    Raises:
        SparksError: a plugin `module:Name` or `file.py:Name` that is not in `named`.
    """
    for code in sorted(_code(settings) - _code(named)):
        raise SparksError(
            f"{source} names the code {code}, which is run only if you say so: name it in an "
            "option or with --set as well"
        )
    return settings


def _code(value: Any) -> set[str]:
    """All names of plugins that are found by importing what they say."""
    if not isinstance(value, dict | list):
        return set()
    name = value.get("name") if isinstance(value, dict) else None
    own = {name} if isinstance(name, str) and ":" in name else set()
    return own.union(*map(_code, value.values() if isinstance(value, dict) else value))


def _critic(choice: str) -> Settings:
    is_plugin = choice in registry.critics.names() or ":" in choice
    return {"name": choice} if is_plugin else {"model": choice}


def _window(text: str) -> tuple[float, float]:
    start, colon, end = text.partition(":")
    try:
        return float(start), float(end if colon else "")
    except ValueError:
        raise SparksError(f"window {text!r} is not START:END in seconds, e.g. 0.5:1.5") from None
