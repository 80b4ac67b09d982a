"""Settings of an edit: what can be set.

Layers, later ones winning: the model folder's `sparks.yaml`, presets and files (`--config`),
command-line options, `--set key=value`; see `sparks.settings.layers`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sparks.critics.sampling import Mode
from sparks.editors.guidance import Guidance, ModalityGuidance
from sparks.editors.schedule import Sampling
from sparks.errors import SparksError, shorten
from sparks.files import at_home
from sparks.models.weights import BUNDLED
from sparks.search.evaluation import Watch
from sparks.search.objective import LatentSchedule, Reduction, Weights
from sparks.settings.construct import unknown
from sparks.settings.kinds import check_kinds
from sparks.settings.layers import merge
from sparks.settings.yaml import Settings

_Count = Annotated[int, Field(ge=1)]
_Side = Annotated[int, Field(ge=32)]  # pixels: less than that, LPIPS sees nothing
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
    """The generator, on one device, or with `devices` a copy on each to share batches: a list, or
    `auto` for all GPUs.
    """

    name: str = "ltx2"
    devices: Literal["auto"] | tuple[str, ...] | None = None


class CriticSettings(_Plugin):
    """The judge and what it sees; without `model`, the one in the generator's own folder.

    `num_frames`, `sampling`, `windows` and `start` are those of `sparks.search.evaluation.Watch`.
    """

    name: str = "qwen"
    model: str | None = None
    dtype: str | None = None
    num_frames: int = Field(default=8, ge=1)
    sampling: Mode = "linspace"
    windows: int = Field(default=1, ge=1, le=1000)
    start: int = Field(default=0, ge=0)

    @property
    def watch(self) -> Watch:
        """How renders are shown to the critic."""
        return Watch(self.num_frames, self.sampling, self.windows, self.start)


class ClipSettings(_Section):
    """Shape the source is brought to, each its own where not given.

    `size` is [height, width], filled and centre-cropped, or by `fit: squash` the whole picture
    squashed into it; `fps` takes the nearest frames in time; of those, the first `num_frames` are
    kept.
    """

    size: tuple[_Count, _Count] | None = None
    fit: Literal["crop", "squash"] = "crop"
    fps: float | None = Field(default=None, ge=0.1, le=240)
    num_frames: int | None = Field(default=None, ge=2)


class GuidanceSettings(_Section):
    """Guidance while tuning, and of the baseline and the final render."""

    tuning: Guidance = Guidance()
    final: Guidance = LTX23_GUIDANCE


class ObjectiveSettings(_Section):
    """The loss; see `sparks.search.objective`.

    `anchor` is where the latent terms are measured from: the untuned controls, or where the
    search starts (`init`, another place only with an `audio_init`).
    """

    weights: Weights = Weights()
    anchor: Literal["source", "init"] = "source"
    reduction: Reduction = "mean"
    latent_schedule: LatentSchedule = "constant"
    max_frames: int = Field(default=16, ge=1)
    max_pairs: int = Field(default=12, ge=1)
    size: tuple[_Side, _Side] | None = None


# What a search does not depend on; the video is told by its own digest.
_APART: Any = {
    **dict.fromkeys(
        (
            *("video", "device", "budget", "screen", "sound", "preview_every", "keep"),
            *("listeners", "judge"),
        ),
        True,
    ),
    "guidance": {"final"},
    "editor": {"devices"},
}


class Config(_Section):
    """Everything that decides an edit. Without `video`, the bundled task is edited.

    `judge` is a second critic, asked about the final render only; by default the one in the
    generator's own folder, if there is one. It is shown what the critic is, where it does not say.
    With `screen`, a few renders are looked at first, and nothing is searched if the chance that the
    edit happens is smaller.
    """

    video: Annotated[str, AfterValidator(at_home)] | None = None
    prompt: str | None = None
    static_prompt: str | None = None
    negative_prompt: str = ""
    audio_prompt: str | None = None
    prefix_frames: int | None = Field(default=None, ge=0)
    window: tuple[float, float] | None = None
    model: str = BUNDLED
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
    screen: float | None = Field(default=None, ge=0, le=1)
    seed: int = Field(default=42, ge=0, lt=2**63)
    sound: Sound = "source"
    preview_every: int | None = Field(default=None, ge=1)
    keep: Annotated[int, Field(ge=1)] | str = "best"
    listeners: tuple[str, ...] = ()

    @field_validator("window")
    @classmethod
    def _ends_after_its_start(cls, window: tuple[float, float] | None) -> Any:
        if window is not None and not 0 <= window[0] < window[1]:
            raise SparksError(f"window={list(window)} is no START, END in seconds from 0 on")
        return window

    @model_validator(mode="before")
    @classmethod
    def _show_alike(cls, given: Any) -> Any:
        critic, judge = given.get("critic"), given.get("judge")
        if not (isinstance(critic, dict) and isinstance(judge, dict)):
            return given
        shown = {each.name: critic[each.name] for each in fields(Watch) if each.name in critic}
        return given | {"judge": shown | judge}

    @classmethod
    def resolve(cls, *layers: Settings) -> "Config":
        """Merge layers, later ones winning, and check the result.

        Raises:
            SparksError: naming the key, its value and what is known or allowed.
        """
        merged = merge(*layers)
        _check_text(merged)
        try:
            config = cls.model_validate(merged)
        except ValidationError as error:
            raise SparksError(_explain(cls, error)) from None
        check_kinds(merged, config)
        return config

    def digests(self) -> dict[str, str]:
        """A fingerprint of each setting that a search depends on, to tell whether it was changed.

        The budget may grow, the final render be guided otherwise, and be shown otherwise.
        """
        searched = self.model_dump(mode="json", exclude=_APART, exclude_defaults=True)
        texts = {name: json.dumps(value, sort_keys=True) for name, value in searched.items()}
        return {name: hashlib.sha256(t.encode()).hexdigest()[:12] for name, t in texts.items()}

    def dump(self) -> str:
        """YAML from which the same configuration is read again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def _check_text(value: Any, key: str = "") -> None:
    """Refuse text that cannot be written down, as of arguments that were not UTF-8."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_text(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, str) and key != "video" and not _is_utf8(value):  # files may have any
        raise SparksError(f"{key}={value!r} is not UTF-8; type it anew")


def _is_utf8(text: str) -> bool:
    return text == text.encode("utf-8", "ignore").decode("utf-8")


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown(".".join(path), path[-1], _keys(model, path[:-1]))
    where, value = ".".join(path), shorten(repr(first["input"]))
    if path and first["type"] in ("model_type", "dataclass_type"):
        keys = _keys(model, path)
        return f"{where}={value} is no section; give its keys, as {where}.{keys[0]}=..."
    return f"{where}={value} is not usable: {first['msg']}"


def _keys(model: Any, path: Iterable[str]) -> list[str]:
    for part in path:
        model = get_type_hints(model)[part]
        model = next((each for each in get_args(model) if each is not NoneType), model)
    if is_dataclass(model):
        return [field.name for field in fields(model)]
    return list(model.model_fields)
