"""Colours mean what a file's tags say; what is brighter or wider than a screen is mapped to it."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sparks.media.clip import Clip, read_clip, write_clip
from tests.media.zoo import Film, Sound, check_picture, even, tagged

SKIN, GREY, WHITE = (225, 170, 140), (128, 128, 128), (255, 255, 255)
RED, GREEN, BLUE = (200, 30, 30), (30, 180, 40), (40, 60, 220)
BARS = (RED, GREEN, BLUE, SKIN, GREY, WHITE, (20, 20, 20), (120, 200, 230))
QUIET = {"x265-params": "log-level=none", "crf": "4"}

# Linear light of BT.709 in the primaries of BT.2020 and of Display P3.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1775, 0.0], [0.0332, 0.9668, 0.0], [0.0171, 0.0724, 0.9105]])


def nits(colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Light of a screen whose white is paper at 203 nits, `[n, 3]`."""
    return 203 * (np.array(colours) / 255) ** 2.4


def pq(light: np.ndarray) -> np.ndarray:
    power = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: np.ndarray) -> np.ndarray:
    """For a screen of 1000 nits, whose gamma is 1.2."""
    luma = light @ np.array([0.2627, 0.6780, 0.0593])
    scene = light / 1000 * np.maximum(luma / 1000, 1e-9)[:, None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def bars(path: Path, signal: np.ndarray, codec: str = "libx265", **tags: int) -> Path:
    """A film of upright bars of coded colours `[n, 3]` in [0, 1], in ten bits."""
    row = (signal * 65535).round().astype(np.uint16).repeat(16, axis=0)
    picture = np.broadcast_to(row, (48, *row.shape)).copy()
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, options=QUIET if codec == "libx265" else {})
        video.pix_fmt, video.height, video.width = "yuv444p10le", *picture.shape[:2]
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb48le").reformat(
                format="yuv444p10le", dst_colorspace=9 if tags.get("colorspace") == 9 else 1
            )
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def read_bars(path: Path) -> np.ndarray:
    frames = read_clip(path).frames
    return (255 * frames[2, :, 24, 8::16]).T.numpy()


@pytest.mark.parametrize("suffix", ["mov", "mkv"])
@pytest.mark.parametrize(("name", "curve", "trc"), [("PQ", pq, 16), ("HLG", hlg, 18)])
def test_high_dynamic_range_looks_like_a_screen(
    tmp_path: Path, suffix: str, name: str, curve, trc: int, caplog: pytest.LogCaptureFixture
) -> None:
    signal = curve(nits(BARS) @ TO_2020.T)
    path = bars(tmp_path / f"film.{suffix}", signal, colorspace=9, color_primaries=9, color_trc=trc)
    with caplog.at_level(logging.WARNING):
        read = read_bars(path)
    dull = [index for index, colour in enumerate(BARS) if max(colour) < 215]
    assert np.abs(read[dull] - np.array(BARS)[dull]).max() < 5
    assert np.abs(read - np.array(BARS)).max() < 20  # white leaves room above
    assert f"high dynamic range ({name})" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("curve", "trc"), [(pq, 16), (hlg, 18)])
def test_highlights_are_told_apart_and_keep_their_hue(tmp_path: Path, curve, trc: int) -> None:
    light = np.array([(n, n, n) for n in (0, 50, 100, 203, 300, 500, 800, 1000)], float)
    light = np.vstack([light, [(600, 300, 150)]])
    path = bars(tmp_path / "film.mov", curve(light), colorspace=9, color_primaries=9, color_trc=trc)
    read = read_bars(path)
    greys = read[:-1].mean(1)
    assert (np.diff(greys) > 1).all(), greys
    assert greys[-1] > 250
    assert np.ptp(read[:-1], axis=1).max() < 4
    assert read[-1][0] > read[-1][1] > read[-1][2] + 20


def test_high_dynamic_range_without_primaries_is_bt2020(tmp_path: Path) -> None:
    signal = pq(nits(BARS) @ TO_2020.T)
    read = read_bars(bars(tmp_path / "film.mov", signal, colorspace=9, color_trc=16))
    assert np.abs(read[:3] - np.array(BARS[:3])).max() < 5


@pytest.mark.parametrize(
    ("primaries", "matrix", "space"), [(9, TO_2020, 9), (12, TO_P3, 1)], ids=["bt2020", "p3"]
)
def test_a_wide_gamut_is_mapped_to_a_screens(
    tmp_path: Path, primaries: int, matrix: np.ndarray, space: int, caplog: pytest.LogCaptureFixture
) -> None:
    signal = ((np.array(BARS) / 255) ** 2.4 @ matrix.T).clip(0, 1) ** (1 / 2.4)
    path = bars(
        tmp_path / "film.mov", signal, colorspace=space, color_primaries=primaries, color_trc=1
    )
    with caplog.at_level(logging.WARNING):
        assert np.abs(read_bars(path) - np.array(BARS)).max() < 5
    assert "wide gamut" in caplog.text


def test_the_matrix_of_bt2020_alone_maps_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = bars(tmp_path / "film.mov", np.array(BARS) / 255, colorspace=9)
    with caplog.at_level(logging.WARNING):
        assert np.abs(read_bars(path) - np.array(BARS)).max() < 5
    assert not caplog.records


def test_the_colours_of_a_phone_lie_as_its_picture_does(tmp_path: Path) -> None:
    """HDR and a display matrix at once."""
    film = Film(
        "mov",
        "libx265",
        "yuv420p10le",
        turn=(0, 1, -1, 0),
        options=QUIET,
        tags=tagged(9, color_primaries=9, color_trc=1),
    )
    clip = read_clip(film.write(tmp_path))
    assert clip.frames.shape[-2:] == (64, 48)
    # Where the green quarter lies; BT.2020's green is greener than a screen's.
    red, green, blue = 255 * clip.frames[0, :, 40:56, 28:44].mean((1, 2))
    assert green > 150
    assert red < 40
    assert blue < 60


@pytest.mark.parametrize(
    ("width", "height", "matrix"),
    [(96, 96, 6), (512, 320, 6), (1280, 720, 1), (1536, 320, 1), (320, 578, 1)],
)
def test_what_is_written_is_tagged_as_players_take_it(
    tmp_path: Path, width: int, height: int, matrix: int
) -> None:
    picture = torch.zeros(3, 3, height, width)
    quarter = width // 4
    for index, colour in enumerate((SKIN, RED, GREEN, BLUE)):
        columns = slice(index * quarter, (index + 1) * quarter)
        picture[..., columns] = (torch.tensor(colour) / 255)[:, None, None]
    path = tmp_path / "film.mp4"
    write_clip(path, Clip(picture, Fraction(25)))
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context  # of the file, before any frame
        tags = (codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc)
        assert tags == (matrix, 1, 1, 1)
        frame = next(container.decode(video=0))
        tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
        assert tags == (matrix, 1, 1, 1)
        # A player that knows no tags guesses by size, and is right as well.
        guess = frame.to_ndarray(format="rgb24", src_colorspace=1 if matrix == 1 else 5)
    for pixels in (guess, (read_clip(path).frames[0] * 255).permute(1, 2, 0).numpy()):
        row = pixels[height // 2, quarter // 2 :: quarter][:4].astype(float)
        assert np.abs(row - np.array((SKIN, RED, GREEN, BLUE))).max() < 5


def test_tags_survive_reading_and_writing_again(tmp_path: Path) -> None:
    film = Film(size=(1280, 720), times=even(5), sounds=(Sound(end=0.2),))
    write_clip(tmp_path / "again.mp4", read_clip(film.write(tmp_path)))
    check_picture(film, read_clip(tmp_path / "again.mp4"))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_matrix_that_only_the_container_says_is_believed(tmp_path: Path, suffix: str) -> None:
    film = Film(suffix, "mpeg4", tags=tagged(1, color_primaries=1, color_trc=1), sounds=())
    check_picture(film, read_clip(film.write(tmp_path)))
