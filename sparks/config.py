"""Settings of an edit: what can be set, where it comes from, and how mistakes are told.

Layers, later ones winning: the model folder's `sparks.yaml`, presets and files (`--config`),
command-line options, `--set key=value`.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from sparks import registry
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.schedule import Sampling
from sparks.errors import SparksError
from sparks.objective import LatentSchedule, Reduction, Weights
from sparks.problem import Watch

Settings = dict[str, Any]
Sound = Literal["source", "tuned", "none"]

# Retake's own guidance for LTX-2.3; the audio is frozen and needs none.
LTX23_GUIDANCE = Guidance(
    video=ModalityGuidance(guidance_scale=3.0, stg_scale=1.0, modality_scale=3.0, rescale=0.7),
    audio=ModalityGuidance(guidance_scale=7.0, stg_scale=1.0, modality_scale=3.0, rescale=0.7),
    stg_blocks=(28,),
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Plugin(BaseModel):
    """A plugin's name; every other key is an option of the plugin itself."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def options(self) -> Settings:
        return dict(self.model_extra or {})


class SolverSettings(_Plugin):
    """The search."""

    name: str = "adam"


class SpaceSettings(_Plugin):
    """What is searched."""

    name: str = "full"


class EditorSettings(_Plugin):
    """The generator."""

    name: str = "ltx2"


class CriticSettings(_Plugin):
    """The judge and what it sees; without `model`, the one in the generator's own folder.

    `num_frames`, `sampling`, `windows` and `start` are those of `sparks.problem.Watch`.
    """

    name: str = "qwen"
    model: str | None = None
    dtype: str | None = None
    num_frames: int = Field(default=8, ge=1)
    sampling: str = "linspace"
    windows: int = Field(default=1, ge=1)
    start: int = Field(default=0, ge=0)

    @property
    def watch(self) -> Watch:
        """How renders are shown to the critic."""
        return Watch(self.num_frames, self.sampling, self.windows, self.start)


class ClipSettings(_Section):
    """Shape the source is brought to, each its own where not given.

    `size` is [height, width], filled and centre-cropped; `fps` takes the nearest frames in time;
    of those, the first `num_frames` are kept.
    """

    size: tuple[int, int] | None = None
    fps: float | None = Field(default=None, ge=0.1, le=240)
    num_frames: int | None = Field(default=None, ge=2)


class GuidanceSettings(_Section):
    """Guidance while tuning, and of the baseline and the final render."""

    tuning: Guidance = Guidance()
    final: Guidance = LTX23_GUIDANCE


class ObjectiveSettings(_Section):
    """The loss; see `sparks.objective`.

    `anchor` is where the latent terms are measured from: the untuned controls, or where the
    search starts (`init`, another place only with an `audio_init`).
    """

    weights: Weights = Weights()
    anchor: Literal["source", "init"] = "source"
    reduction: Reduction = "mean"
    latent_schedule: LatentSchedule = "constant"
    max_frames: int = Field(default=16, ge=1)
    max_pairs: int = Field(default=12, ge=1)
    size: tuple[int, int] | None = None


class Config(_Section):
    """Everything that decides an edit. Without `video`, the bundled task is edited.

    `judge` is a second critic, asked about the final render only; by default the one in the
    generator's own folder, if there is one.
    """

    video: str | None = None
    prompt: str | None = None
    static_prompt: str | None = None
    negative_prompt: str = ""
    audio_prompt: str | None = None
    prefix_frames: int | None = None
    window: tuple[float, float] | None = None
    model: str = "pocket"
    device: str | None = None
    dtype: str | None = None
    editor: EditorSettings = EditorSettings()
    clip: ClipSettings = ClipSettings()
    sampling: Sampling = Sampling()
    guidance: GuidanceSettings = GuidanceSettings()
    critic: CriticSettings = CriticSettings()
    judge: CriticSettings | None = None
    objective: ObjectiveSettings = ObjectiveSettings()
    space: SpaceSettings = SpaceSettings()
    solver: SolverSettings = SolverSettings()
    budget: str = "qwen_calls=30"
    seed: int = Field(default=42, ge=0, lt=2**63)
    sound: Sound = "source"
    preview_every: int | None = Field(default=None, ge=1)
    listeners: tuple[str, ...] = ()

    @classmethod
    def resolve(cls, *layers: Settings) -> "Config":
        """Merge layers, later ones winning, and check the result.

        Raises:
            SparksError: naming the key, its value and what is known or allowed.
        """
        try:
            return cls.model_validate(merge(*layers))
        except ValidationError as error:
            raise SparksError(_explain(cls, error)) from None

    def dump(self) -> str:
        """YAML from which the same configuration is read again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def merge(*layers: Settings) -> Settings:
    """Later layers win, key by key; a plugin takes no options of one with another name.

    How renders are shown to a critic (`sparks.problem.Watch`) is no option of the critic.
    """
    result: Settings = {}
    for layer in layers:
        for ours, theirs in (("window", "prefix_frames"), ("prefix_frames", "window")):
            if layer.get(ours) is not None:
                result.pop(theirs, None)
        result = _merged(result, layer)
    return result


def _merged(lower: Settings, upper: Settings) -> Settings:
    result = dict(lower)
    for key, value in upper.items():
        result[key] = _combined(key, result.get(key), value)
    return result


def _combined(key: str, below: Any, value: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(value, dict)):
        return value
    if value.get("name", below.get("name")) != below.get("name"):
        shared = [field.name for field in fields(Watch)] if key == "critic" else []
        return {name: below[name] for name in shared if name in below} | value
    return _merged(below, value)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: 5e-3 is a number, yes and no are words. No aliases: a few lines of them
    can stand for more values than memory holds, or for one that contains itself."""

    def compose_node(self, *where: Any) -> Any:
        """The next value."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias; write the value again instead")
        return super().compose_node(*where)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?$|^[-+]?\.(inf|nan)$"),
    list("-+.0123456789"),
)


def _parse(text: str) -> Any:
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
    from sparks.authors import MARK, translate

    return translate(settings) if MARK in settings else settings


def read_raw(source: str | Path) -> Any:
    """What a YAML file or preset holds.

    Raises:
        SparksError: no such file or preset, or it is not YAML.
    """
    path = _preset(str(source)) or Path(source)
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
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


def assignments(pairs: Iterable[str]) -> Settings:
    """Settings of `a.b=value` pairs; values are read as YAML.

    Raises:
        SparksError: a pair without `=`, or a value that is no YAML.
    """
    result: Settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise SparksError(
                f"--set {pair!r} is no assignment; write key=value, e.g. solver.lr=0.01"
            )
        try:
            value = _parse(text)
        except ValueError as error:
            raise SparksError(f"--set {pair!r}: {text!r} is not valid YAML; quote it") from error
        for part in reversed(key.split(".")):
            value = {part: value}
        result = _merged(result, value)
    return result


def construct(kind: str, factory: Callable[..., Any], options: Settings, **given: Any) -> Any:
    """Call a plugin with the user's options and what the program gives every plugin of its kind.

    What a plugin does not take of the program's offer is left out; a user's option it does not
    take is an error.

    Raises:
        SparksError: naming the option and the known ones, or the value that was refused.
    """
    parameters = inspect.signature(factory).parameters
    known = [name for name in parameters if name not in given]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in known and not open_ended:
            raise SparksError(_unknown(f"{kind}.{name}", name, known))
    accepted = {k: v for k, v in given.items() if k in parameters or open_ended}
    checked = {name: _typed(kind, factory, name, value) for name, value in options.items()}
    try:
        return factory(**accepted, **checked)
    except (TypeError, ValueError) as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise SparksError(f"{kind} refuses {shown or 'its settings'}: {error}") from error


def _typed(kind: str, factory: Callable[..., Any], name: str, value: Any) -> Any:
    """`value` as the annotation of the plugin's parameter wants it, where there is one."""
    factory = getattr(factory, "func", factory)  # a variant is a partial
    try:
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
        adapter = TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True))
    except (KeyError, NameError, TypeError, PydanticUserError):
        return value  # not annotated, or not in a way that can be checked
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise SparksError(f"{kind}.{name}={value!r} is not usable: {reason}") from None


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown(".".join(path), path[-1], _keys(model, path[:-1]))
    return f"{'.'.join(path)}={first['input']!r} is not usable: {first['msg']}"


def _unknown(key: str, last: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(last, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown setting {key!r}{meant} (known here: {', '.join(known)})"


def _keys(model: Any, path: Iterable[str]) -> list[str]:
    for part in path:
        model = get_type_hints(model)[part]
    if is_dataclass(model):
        return [field.name for field in fields(model)]
    return list(model.model_fields)


def recommended(folder: Path | str) -> Settings:
    """What the model in `folder` is best run with: its `sparks.yaml`, if it has one."""
    path = Path(folder) / "sparks.yaml"
    return read_settings(path) if path.is_file() else {}


def layers(
    configs: Iterable[str],
    options: Mapping[str, Any],
    pairs: Iterable[str],
    recipe: Path | None = None,
) -> Settings:
    """The user's settings: a recipe, files and presets, options that were given, then `--set`.

    `solver` is a plugin's name, `critic` one or a model, `window` is `START:END`.

    Raises:
        SparksError: see `read_settings`, `assignments` and `without_code`, or a window of another
            form.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if "solver" in given:
        given["solver"] = {"name": given["solver"]}
    if "critic" in given:
        given["critic"] = _critic(given["critic"])
    if "window" in given:
        given["window"] = _window(given["window"])
    typed = merge(given, assignments(pairs))
    files = {str(config): read_settings(config) for config in configs}
    if recipe is not None:
        from sparks.recipes import repeat

        files = {str(recipe): repeat(recipe, typed.get("video")), **files}
    return merge(*(without_code(read, path, typed) for path, read in files.items()), typed)


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
    known = choice in registry.critics.names() or ":" in choice
    return {"name": choice} if known else {"model": choice}


def _window(text: str) -> tuple[float, float]:
    start, colon, end = text.partition(":")
    try:
        return float(start), float(end if colon else "")
    except ValueError:
        raise SparksError(f"window {text!r} is not START:END in seconds, e.g. 0.5:1.5") from None
