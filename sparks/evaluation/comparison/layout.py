"""What a comparison is of: a YAML file of methods, and of scenarios if no experiment has them.

title: ours and others
methods:
  - {name: ours, experiment: runs/solvers, setting: hybrid, role: ours}
  - {name: prompt only, experiment: runs/solvers, video: baseline, role: baseline}
  - {name: UniEdit, folder: theirs/uniedit, form: uniedit}
  - {name: Aleph, folder: theirs/aleph, files: "{scenario}_final.mp4"}
scenarios:                       # of experiments: all of their tasks, if left out
  - {name: cat, source: cat.mp4, prompt: the cat jumps, prefix_frames: 5, notes: indoors}
metrics: all                     # groups or names
using: {mask: mask.mp4}          # see sparks measure --with
model: pocket                    # whose own weights metrics use
judge: {backend: pocket, rubric: edit, orders: both, repeats: 1}
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sparks.errors import SparksError
from sparks.evaluation.scenarios import Name, Role
from sparks.settings.kinds import check_kinds
from sparks.settings.yaml import read_raw

PictureArea = Literal["left half", "right half", "whole"]
#: Where other methods put what they make, and which part of the picture is the edit.
FORMS: dict[str, tuple[tuple[str, ...], PictureArea]] = {
    "plain": (("{scenario}.*", "{scenario}/*"), "whole"),
    "vace": (("{scenario}/out_video.mp4", "{scenario}.mp4", "{scenario}/*.mp4"), "whole"),
    "uniedit": (("{scenario}.gif", "{scenario}/*.gif"), "right half"),
}
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Method(_Strict):
    """One column: edits of an experiment of ours, or files of another method.

    Attributes:
        experiment: folder of `sparks bench` or `sparks ablate`; `setting` which of its settings,
            `seed` which of its seeds (the first), `video` the edit or the prompt-only render.
        folder: of files; `form` one of FORMS, or `files` a pattern of one's own.
        part: of the picture, if not the form's.
    """

    name: Name
    role: Role = "other"
    experiment: Path | None = None
    setting: str | None = None
    seed: int | None = None
    video: Literal["edited", "baseline"] = "edited"
    folder: Path | None = None
    form: str = "plain"
    files: str | None = None
    part: PictureArea | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Method:
        if (self.experiment is None) == (self.folder is None):
            raise ValueError("give experiment or folder, one of them")
        if self.form not in FORMS:
            raise ValueError(f"form is {self.form!r}; choose {', '.join(FORMS)}, or give files")
        if self.files is not None and "{scenario}" not in self.files:
            raise ValueError('files has no "{scenario}" in it')
        return self


class Given(_Strict):
    """A scenario of one's own."""

    name: Name
    source: Path
    prompt: str
    static_prompt: str | None = None
    prefix_frames: int | None = Field(default=None, ge=0)
    notes: str = ""


class Judge(_Strict):
    """As the options of `sparks judge`."""

    backend: str = "pocket"
    model: str | None = None
    base_url: str | None = None
    rubric: str = "edit"
    orders: Literal["both", "balanced"] = "both"
    repeats: int = Field(default=1, ge=1)
    num_frames: int = Field(default=8, ge=1)
    seed: int = 0
    instructions: Path | None = None


class Layout(_Strict):
    """The whole file; paths are relative to it."""

    title: str = "Comparison"
    methods: list[Method] = Field(min_length=2)
    scenarios: list[Given] | None = None
    metrics: str = "all"
    using: dict[str, str] = {}
    model: str | None = None
    judge: Judge | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Layout:
        for kind, things in (("methods", self.methods), ("scenarios", self.scenarios or [])):
            names = [each.name for each in things]
            if len(set(names)) < len(names):
                raise ValueError(f"two {kind} of one name")
        if self.scenarios is None and all(method.experiment is None for method in self.methods):
            raise ValueError("no experiment has the scenarios; list them")
        return self


def read_layout(path: Path) -> Layout:
    """The layout in a YAML file, its paths made relative to where the command runs.

    Raises:
        SparksError: no such file, or a key or value that cannot be.
    """
    try:
        layout = Layout.model_validate(raw := read_raw(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SparksError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from None
    for name, given in raw.items():
        check_kinds(given, getattr(layout, name), f"{path}: {name}")
    home = path.parent
    for method in layout.methods:
        method.experiment = method.experiment and home / method.experiment
        method.folder = method.folder and home / method.folder
    for scenario in layout.scenarios or []:
        scenario.source = home / scenario.source
    if layout.judge is not None and layout.judge.instructions is not None:
        layout.judge.instructions = home / layout.judge.instructions
    if "mask" in layout.using:
        layout.using["mask"] = str(home / layout.using["mask"])
    return layout
