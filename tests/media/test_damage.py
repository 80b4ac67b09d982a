"""Damaged films: what is broken is left out, with a warning and a count; the rest is in time."""

import contextlib
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sparks.errors import SparksError
from sparks.media.clip import read_clip
from tests.media.zoo import Film, Sound, check_picture, check_sound, clicks, even, middle

PCM, MP2 = (Sound("pcm_s16le"),), (Sound("mp2"),)
LONG = even(50)
QUIET = "log-level=none:"


def packets(path: Path, kind: str) -> list[tuple[int, int]]:
    """Place and size of each packet of a kind in a file."""
    with av.open(str(path)) as container:
        streams: Any = getattr(container.streams, kind)
        found = [(packet.pos, packet.size) for packet in container.demux(streams[0])]
    return [(place, size) for place, size in found if size and place is not None]


def broken(path: Path, kind: str, *which: int) -> Path:
    """Packets overwritten in a file, as by a bad disk."""
    whole = bytearray(path.read_bytes())
    places = packets(path, kind)
    for index in which:
        place, size = places[index]
        whole[place : place + size] = b"\xff" * size
    path.write_bytes(whole)
    return path


STEADY = {"g": "5", "bf": "0"}


@pytest.mark.parametrize("which", [(0,), (20,), (-1,), (10, 20, 30), (5, 6, 7, 8)])
@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_broken_sound_is_left_out_and_counted(
    tmp_path: Path, suffix: str, which: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    film = Film(suffix)
    path = broken(film.write(tmp_path), "audio", *which)
    with caplog.at_level(logging.WARNING):
        clip = read_clip(path)
    check_picture(film, clip)
    check_sound(film, clip)  # the click is where it was
    assert f"{len(which)} broken packet(s) of its sound left out" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("film", "which"),
    [
        (Film(options=STEADY), (7,)),
        (Film("mov", options=STEADY), (7, 8)),
        (Film(options=STEADY), (-1,)),
        (Film(codec="mpeg4", options=STEADY), (7,)),
        (Film(codec="libx265", options={"x265-params": QUIET + "keyint=5:bframes=0"}), (7,)),
        (Film("avi", "mjpeg", "yuvj420p", sounds=PCM), (3, 9)),
        (Film("mov", "prores_ks", "yuv422p10le", sounds=PCM), (4,)),
    ],
    ids=lambda value: f"{value.codec}-{value.suffix}" if isinstance(value, Film) else str(value),
)
def test_a_broken_picture_is_left_out_and_counted(
    tmp_path: Path, film: Film, which: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    path = broken(film.write(tmp_path), "video", *which)
    with caplog.at_level(logging.WARNING):
        clip = read_clip(path)
    assert abs(len(clip.frames) - 25) <= 1
    check_sound(film, clip)
    assert f"{len(which)} broken packet(s) of its picture left out" in caplog.text
    assert len(caplog.records) == 1
    # Until the next whole picture a decoder makes do; the first pictures and those after are right.
    levels = (255 * middle(clip.frames, 1, 1).mean(1)).tolist()
    bad = {index % 25 + more for index in which for more in range(-1, 6)}
    for index, level in enumerate(levels):
        if index not in bad:
            assert level == pytest.approx(film.grey(Fraction(index, 25)), abs=4)


def test_a_film_whose_first_picture_is_broken_begins_at_the_next_whole_one(tmp_path: Path) -> None:
    film = Film(options=STEADY)
    clip = read_clip(broken(film.write(tmp_path), "video", 0))
    begin = 25 - len(clip.frames)
    levels = 255 * middle(clip.frames, 1, 1).mean(1)
    assert begin in (0, 1, 5)
    for index, level in enumerate(levels.tolist()):
        if index + begin >= 5:
            assert level == pytest.approx(film.grey(Fraction(index + begin, 25)), abs=4)


def test_a_film_of_broken_pictures_is_refused(tmp_path: Path) -> None:
    path = broken(Film("mov", "prores_ks", "yuv422p10le").write(tmp_path), "video", *range(25))
    with pytest.raises(SparksError, match="holds no decodable frame"):
        read_clip(path)


def test_sound_of_which_all_is_broken_is_refused(tmp_path: Path) -> None:
    path = Film().write(tmp_path)
    with pytest.raises(SparksError, match="cannot decode the sound"):
        read_clip(broken(path, "audio", *range(len(packets(path, "audio")))))


GROUPS = {"g": "10", "bf": "2", "b": "8M"}
OPEN = "keyint=10:min-keyint=10:bframes=3:open-gop=1"
SMALL = {"packetsize": "256"}  # so that each frame has its time
RECORDERS = {
    "h264": Film("ts", options={"g": "10", "bf": "2"}),
    "h264-without-b-frames": Film("ts", options={"g": "10", "bf": "0"}),
    "h264-open-groups": Film("ts", options={"x264-params": OPEN}),
    "hevc-open-groups": Film("ts", "libx265", options={"x265-params": QUIET + OPEN}),
    "mpeg2-ts": Film("ts", "mpeg2video", options=GROUPS),
    "mpeg2-mpg": Film("mpg", "mpeg2video", options=GROUPS, header=SMALL),
    "mpeg1-mpg": Film("mpg", "mpeg1video", options=GROUPS, header=SMALL),
    "mpeg4-ts": Film("ts", "mpeg4", options={"g": "10", "b": "8M"}),
}


@pytest.mark.parametrize("share", [0.2, 0.33, 0.45])
@pytest.mark.parametrize("name", RECORDERS)
def test_a_film_that_begins_within_a_group_is_read_from_its_first_whole_picture(
    tmp_path: Path, name: str, share: float
) -> None:
    film = Film(
        **vars(RECORDERS[name]) | {"size": (160, 120), "sounds": (), "times": LONG, "span": 2}
    )
    path = film.write(tmp_path)
    whole = path.read_bytes()
    packet = 188 if film.suffix == "ts" else 1
    path.write_bytes(whole[int(share * len(whole)) // packet * packet :])
    clip = read_clip(path)
    begin = 50 - len(clip.frames)
    assert 5 <= begin <= 45
    levels = 255 * middle(clip.frames, 1, 1).mean(1)
    for index, level in enumerate(levels.tolist()):
        assert level == pytest.approx(film.grey(LONG[begin + index]), abs=3), (begin, index)


def test_what_is_left_out_before_the_first_whole_picture_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Film("ts", options={"g": "10", "bf": "0"}, sounds=()).write(tmp_path)
    whole = path.read_bytes()
    place = packets(path, "video")[3][0] // 188 * 188
    path.write_bytes(whole[: 3 * 188] + whole[place:])  # after the tables
    with caplog.at_level(logging.WARNING):
        assert len(read_clip(path).frames) == 15
    assert "it begins within a group of pictures; 7 before the first whole one" in caplog.text
    assert len(caplog.records) == 1


def test_sound_of_a_film_that_begins_within_a_group_stays_in_time(tmp_path: Path) -> None:
    film = Film(
        "ts",
        options={"g": "10", "bf": "2"},
        size=(160, 120),
        times=LONG,
        span=2,
        sounds=(Sound("mp2", end=2, click=1.5),),
    )
    path = film.write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[len(whole) // 5 // 188 * 188 :])
    clip = read_clip(path)
    begin = 50 - len(clip.frames)
    assert begin > 0
    assert clicks(clip)[0] == pytest.approx(1.5 - begin / 25, abs=0.03)


@pytest.mark.parametrize(
    ("film", "shares"),
    [
        (Film("ts", options={"bf": "0"}), (0.3, 0.7, 0.95)),
        (Film("mkv", options={"bf": "0"}), (0.7, 0.95)),
        (Film("avi", options={"bf": "0"}, sounds=PCM), (0.3, 0.7, 0.95)),
        (Film(options={"bf": "0"}, header={"movflags": "faststart"}), (0.95,)),
    ],
    ids=lambda value: value.suffix if isinstance(value, Film) else "",
)
def test_what_is_left_of_a_cut_file_is_right(
    tmp_path: Path, film: Film, shares: tuple[float, ...]
) -> None:
    path = film.write(tmp_path)
    whole = path.read_bytes()
    for share in shares:
        path.write_bytes(whole[: int(share * len(whole))])
        clip = read_clip(path)
        assert share - 0.3 <= clip.duration <= share + 0.2
        check_picture(film, clip)


def test_half_a_frame_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    film = Film("ts", "mpeg2video", size=(320, 240), sounds=())
    path = film.write(tmp_path)
    path.write_bytes(path.read_bytes()[: int(0.53 * path.stat().st_size)])
    with av.open(str(path)) as container:
        damaged = [frame.is_corrupt for frame in container.decode(video=0)]
    assert damaged[-1]
    with caplog.at_level(logging.WARNING):
        assert len(read_clip(path).frames) == damaged.count(False)
    assert f"{damaged.count(True)} damaged frame(s) left out" in caplog.text


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "gif"])
def test_flipped_bits_never_crash(tmp_path: Path, suffix: str) -> None:
    film = Film(suffix, sounds=PCM if suffix == "avi" else (Sound(),))
    if suffix == "gif":
        film = Film("gif", "gif", "rgb8", sounds=())
    path = film.write(tmp_path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(7)
    for count in (1, 16, 128):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), count)] ^= 1 << rng.integers(0, 8, count).astype(
            np.uint8
        )
        path.write_bytes(damaged)
        with contextlib.suppress(SparksError):  # anything else is a crash
            clip = read_clip(path, fps=Fraction(25, 2), max_frames=25)
            assert clip.frames.isfinite().all()
            assert clip.waveform is None or clip.waveform.isfinite().all()
