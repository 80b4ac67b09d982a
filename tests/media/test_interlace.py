"""Interlaced film is made whole; what is whole already stays as it is."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sparks.media.clip import read_clip

RED, YELLOW = (200, 40, 40), (230, 215, 60)
WIDTH, HEIGHT, COUNT = 192, 96, 12
STEP = 16  # pixels that the bar moves by from field to field
FIELDS = {"flags": "+ildct+ilme"}
CAMERAS = {
    "mpeg2-mpg": ("mpg", "mpeg2video", FIELDS),
    "mpeg2-ts": ("ts", "mpeg2video", FIELDS),
    "mpeg2-mkv": ("mkv", "mpeg2video", FIELDS),
    "h264-ts": ("ts", "libx264", {"x264-params": "interlaced=1:tff=1"}),
    "h264-mp4": ("mp4", "libx264", {"x264-params": "interlaced=1:tff=1"}),
    "mpeg4-avi": ("avi", "mpeg4", {"flags": "+ildct+ilme", "b": "4M"}),
    "prores-mov": ("mov", "prores_ks", {"flags": "+ildct"}),
}


def field(index: int) -> np.ndarray:
    """A red picture with a yellow bar where a moment has it."""
    picture = np.full((HEIGHT, WIDTH, 3), RED, np.uint8)
    left = STEP * index % WIDTH
    picture[:, left : left + 2 * STEP] = YELLOW
    return picture


def stored(picture: np.ndarray, pixels: str) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)


def weave(frame: av.VideoFrame, later: av.VideoFrame) -> None:
    """Put every other line of a later moment into a frame."""
    for plane, other in zip(frame.planes, later.planes, strict=True):
        lines, others = (
            np.frombuffer(each, np.uint8).reshape(-1, each.line_size).copy()
            for each in (plane, other)
        )
        lines[1::2] = others[1::2]
        plane.update(lines.tobytes())


def film(folder: Path, suffix: str, codec: str, options: dict[str, str], *, woven: bool) -> Path:
    """Each frame of two fields, the upper one earlier, or of one moment."""
    path = folder / f"film.{suffix}"
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options=options)
        video.width, video.height = WIDTH, HEIGHT
        video.pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
        for index in range(COUNT):
            frame = stored(field(2 * index), video.pix_fmt)
            if woven:
                weave(frame, stored(field(2 * index + 1), video.pix_fmt))
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def combing(frames: np.ndarray) -> float:
    """How much a line stands out from both its neighbours, in levels."""
    odd = 2 * frames[:, 1:-1] - frames[:, :-2] - frames[:, 2:]
    return float(np.abs(odd).mean())


def read(path: Path) -> np.ndarray:
    return (255 * read_clip(path).frames).permute(0, 2, 3, 1).numpy()


def plain(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(float)


@pytest.mark.parametrize("name", CAMERAS)
def test_interlaced_film_is_made_whole(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = film(tmp_path, *CAMERAS[name], woven=True)
    with caplog.at_level(logging.WARNING):
        frames = read(path)
    before = plain(path)
    assert frames.shape == (COUNT, HEIGHT, WIDTH, 3)
    assert combing(before) > 15
    assert combing(frames) < combing(before) / 4
    assert "it is interlaced" in caplog.text
    assert len(caplog.records) == 1
    for index in range(1, COUNT - 1):  # each frame is of its own time, in its own colours
        left = 2 * index * STEP % WIDTH
        if left + 2 * STEP <= WIDTH:
            assert np.abs(frames[index, 40, left + STEP] - YELLOW).max() < 40
        assert np.abs(frames[index, 40, (left + WIDTH // 2) % WIDTH] - RED).max() < 40


@pytest.mark.parametrize("name", ["mpeg2-ts", "h264-mp4", "mpeg4-avi"])
def test_whole_film_stays_as_it_is(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    suffix, codec, _ = CAMERAS[name]
    path = film(tmp_path, suffix, codec, {}, woven=False)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(read(path).round(), plain(path))
    assert not caplog.records


def test_film_may_turn_interlaced_on_the_way(tmp_path: Path) -> None:
    whole = film(tmp_path, "ts", "mpeg2video", {}, woven=False).read_bytes()
    woven = film(tmp_path, "ts", "mpeg2video", FIELDS, woven=True)
    before = plain(woven)
    woven.write_bytes(whole + woven.read_bytes())
    frames = read(woven)
    assert len(frames) == 2 * COUNT
    assert combing(frames[:COUNT]) < 5
    assert combing(frames[COUNT + 1 :]) < combing(before) / 4


def test_no_more_is_decoded_than_is_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path, *CAMERAS["mpeg2-ts"], woven=True)
    short = read_clip(path, max_frames=3).frames
    assert len(short) == 3
    assert np.array_equal(short.numpy(), read_clip(path).frames[:3].numpy())
