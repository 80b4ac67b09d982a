"""Look at a video, or cut it, in a process of its own: `python -m sparks.studio.edits.looking ...`.

What comes from anywhere is read where nothing is lost if the reader ends, by the reader that edits
use: no file that it opens can name another, and what is too large is refused.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

from sparks.errors import SparksError
from sparks.files import write_text
from sparks.media.clip import Clip, read_clip, write_clip

SHOWN, CUT = 640, 1280  # longest side in pixels, of what is shown and of what is cut out
LONGEST = 60.0  # seconds that are looked at, from the beginning
_STRIP = 16  # frames
_SECONDS = 300  # that a process may take


def look(video: Path, folder: Path) -> None:
    """Write `shown.mp4`, which every browser plays, `strip.jpg` and `facts.json`.

    Raises:
        SparksError: it is no video, or one that cannot be edited.
    """
    notes: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: notes.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("sparks").addHandler(handler)
    clip = _read(video, SHOWN, LONGEST)
    write_clip(folder / "shown.mp4", clip)
    _strip(folder / "strip.jpg", clip)
    facts = {
        "frames": len(clip.frames),
        "fps": float(clip.fps),
        "seconds": clip.duration,
        "sound": clip.waveform is not None,
        "notes": [note.replace(f"{video}: ", "") for note in notes],
    }
    write_text(folder / "facts.json", json.dumps(facts))


def cut(video: Path, output: Path, start: float, end: float) -> None:
    """Write the seconds from `start` to `end` of a video, at most 1280 pixels along a side."""
    clip = _read(video, CUT, end)
    first = round(start * clip.fps)
    samples = round(first / clip.fps * clip.sample_rate)
    sound = None if clip.waveform is None else clip.waveform[:, samples:]
    frames = clip.frames[first:]
    if not len(frames):
        raise SparksError(f"{video.name} has nothing after {start:g} s; begin earlier")
    write_clip(output, Clip(frames, clip.fps, sound, clip.sample_rate).cut(len(frames)))


def apart(what: str, *arguments: str | Path | float) -> None:
    """Do it in a process of its own.

    Raises:
        SparksError: what the process says, or that it did not end well.
    """
    command = [sys.executable, "-m", "sparks.studio.edits.looking", what, *map(str, arguments)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise SparksError(
            f"the video was not read within {_SECONDS} s; give a shorter one"
        ) from None
    if told.returncode:
        errors = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
        reason = errors[-1].removeprefix("error: ") if errors else "its reader ended; re-encode it"
        raise SparksError(f"this is no video that can be edited: {reason}")


def _read(video: Path, side: int, seconds: float) -> Clip:
    first = read_clip(video, max_frames=1)
    height, width = first.frames.shape[-2:]
    scale = min(1.0, side / max(height, width))
    size = tuple(max(2, round(length * scale / 2) * 2) for length in (height, width))
    fps = first.fps if first.fps <= 60 else Fraction(60)
    most = max(1, round(seconds * fps))
    return read_clip(video, fps=fps, size=(size[0], size[1]), max_frames=most)


def _strip(path: Path, clip: Clip) -> None:
    """Evenly spaced frames in a row."""
    import torch
    from PIL import Image

    indices = torch.linspace(0, len(clip.frames) - 1, _STRIP).round().int().tolist()
    height = 96
    width = max(1, round(clip.frames.shape[-1] * height / clip.frames.shape[-2]))
    row = Image.new("RGB", (width * _STRIP, height))
    for place, index in enumerate(indices):
        pixels = (clip.frames[index].permute(1, 2, 0) * 255).byte().numpy()
        row.paste(Image.fromarray(pixels).resize((width, height)), (place * width, 0))
    row.save(path, quality=80)


def main(arguments: list[str]) -> Any:
    """`look VIDEO FOLDER`, or `cut VIDEO OUTPUT START END`."""
    what, video, place, *seconds = arguments
    try:
        if what == "look":
            look(Path(video), Path(place))
        else:
            cut(Path(video), Path(place), *map(float, seconds))
    except SparksError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
