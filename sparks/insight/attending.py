"""Where text and sound act in a finished edit: what `sparks attention` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from sparks.editors.attention import AXES, KINDS, gathering
from sparks.editors.ltx2 import LTX2Editor
from sparks.errors import SparksError
from sparks.files import write_text
from sparks.insight.drawing import enlarged, laid_over, scale, wall
from sparks.insight.finished import Finished, reopen
from sparks.insight.heat import Heat, over_frames, save_heat
from sparks.media.clip import contact_sheet, write_clip
from sparks.models.memory import peak_memory
from sparks.runs.progress import Silent
from sparks.settings.yaml import Settings

SPLITS = ("word", "moment", "block", "step", "head")
NAMES = {"baseline": "prompt only", "edited": "tuned"}
#: Maps by label that share one scale of colours.
Layer = Callable[[Heat], dict[str, Tensor]]


@dataclass(frozen=True)
class Seen:
    """One render with what was gathered of it.

    Attributes:
        frames: `[T, 3, H, W]`.
        heat: its maps.
    """

    frames: Tensor
    heat: Heat


def words_of(finished: Finished) -> list[tuple[str, list[int]]]:
    """The prompt's words and their positions in the text context.

    Raises:
        SparksError: the run's editor is another than LTX-2.
    """
    editor: Any = finished.prepared.problem.editor
    if not isinstance(editor, LTX2Editor):
        raise SparksError(
            f"the run's editor is {finished.prepared.config.editor.name}; attention is gathered "
            "of ltx2 only"
        )
    texts: Any = editor.texts
    words: list[tuple[str, list[int]]] = texts.words(finished.prepared.problem.prompt)
    return words


def look(finished: Finished, name: str) -> Seen:
    """Render `baseline` or `edited` of a run at full guidance, and gather.

    Raises:
        SparksError: see `words_of`.
    """
    problem, guidance = finished.prepared.problem, finished.prepared.config.guidance.final
    editor: Any = problem.editor
    conditioning: Any = problem.conditioning
    words, candidate = words_of(finished), finished.candidates[name]
    with gathering(editor, [positions for _, positions in words]) as gathered:
        frames = problem.render(candidate.controls, guidance, candidate.noise)
    told, shape = [word for word, _ in words], conditioning.latent_shape
    heat = Heat.of(gathered, told, shape, conditioning.num_frames)
    return Seen(frames.float().cpu(), heat)


def attend(
    folder: Path,
    named: Settings | None = None,
    output: Path | None = None,
    *,
    of: Sequence[str] = ("text", "sound"),
    by: Sequence[str] = ("word",),
    words: Sequence[str] = (),
    reporter: Silent | None = None,
) -> Settings:
    """Write maps of a run's prompt-only and tuned edit, as numbers, pictures and videos.

    Args:
        folder: of the run.
        named: the user's settings, see `reopen`.
        output: where to write; `attention` in the run's folder by default.
        of: which of KINDS to draw.
        by: which of SPLITS to draw apart, beside the mean.
        words: the prompt's words whose attention `text` is in the mean; all if empty.
        reporter: where progress is shown.

    Returns:
        The folder, the words with the share of attention on each, and peak memory in bytes.

    Raises:
        SparksError: a name that there is not, or see `reopen` and `look`.
    """
    _check("of", of, tuple(KINDS))
    _check("by", by, SPLITS)
    reporter, place = reporter or Silent(), output or folder / "attention"
    with reporter:
        finished = reopen(folder, named, reporter)
        _check("words", words, [word for word, _ in words_of(finished)])
        views = {}
        for name in finished.candidates:
            reporter.stage(f"rendering the {NAMES[name]} edit and looking inside")
            views[name] = look(finished, name)
            save_heat(place / f"{name}.safetensors", views[name].heat)
        reporter.stage("drawing")
        _Drawing(place, finished, views, words).all(of, by)
    result: Settings = {
        "folder": str(place),
        "words": list(views["edited"].heat.words),
        "shares": {name: _shares(view.heat) for name, view in views.items()},
        "peak_memory": peak_memory(finished.prepared.problem.device),
    }
    write_text(place / "attention.json", json.dumps(result, indent=1) + "\n")
    return result


def _shares(heat: Heat) -> list[float]:
    return [float(share) for share in heat.maps["words"].mean((1, 2, 3))]


def _check(option: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            raise SparksError(f"--{option} {name!r} is unknown: choose from {', '.join(there)}")


class _Drawing:
    """Pictures of what was seen, in one folder."""

    def __init__(
        self, place: Path, finished: Finished, views: Mapping[str, Seen], words: Sequence[str]
    ) -> None:
        self.place, self.views, self.words = place, views, words
        self.source = finished.prepared.source
        self.compression = finished.prepared.problem.editor.temporal_compression

    def all(self, of: Sequence[str], by: Sequence[str]) -> None:
        self.draw("attention", [partial(self._mean, kind) for kind in of], list(self.views))
        for split in by:
            for kind in of if split in AXES else [""]:
                parts = partial(Heat.parts, split=split, kind=kind, fps=float(self.source.fps))
                self.draw(f"{kind}-by-{split}".lstrip("-"), [parts], ["edited"])

    def draw(self, file: str, layers: Sequence[Layer], in_sheet: Sequence[str]) -> None:
        """A video of both renders with the maps of all layers, and a sheet of one or both."""
        rows = {name: {NAMES[name]: enlarged(view.frames)} for name, view in self.views.items()}
        for layer in layers:
            maps = {name: layer(view.heat) for name, view in self.views.items()}
            between = scale([each for labelled in maps.values() for each in labelled.values()])
            for name, labelled in maps.items():
                for label, heat in labelled.items():
                    rows[name][label] = self._over(self.views[name].frames, heat, between)
        sheet = {
            f"{NAMES[name]}\n{label}" if label != NAMES[name] else label: frames
            for name in in_sheet
            for label, frames in rows[name].items()
        }
        contact_sheet(self.place / f"{file}.png", sheet, columns=10)
        write_clip(self.place / f"{file}.mp4", wall(list(rows.values()), self.source))

    def _mean(self, kind: str, heat: Heat) -> dict[str, Tensor]:
        if kind == "text" and self.words:
            return {" ".join(self.words): heat.of_words(self.words)}
        return {kind: heat.mean(kind)}

    def _over(self, frames: Tensor, heat: Tensor, between: tuple[float, float]) -> Tensor:
        large = enlarged(frames)
        size = (large.shape[-2], large.shape[-1])
        return laid_over(large, over_frames(heat, len(frames), self.compression, size), between)
