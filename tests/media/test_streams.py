"""Of several streams the one is read that a player would show, or the first that can be."""

import logging
from pathlib import Path

import av
import pytest

from sparks.errors import SparksError
from sparks.media.clip import read_clip
from tests.media.zoo import (
    CLICK,
    Film,
    Sound,
    check_picture,
    check_sound,
    clicks,
    even,
    together,
)

DEFAULT = av.stream.Disposition.default
COMMENT = av.stream.Disposition.comment
FOR_THE_BLIND = av.stream.Disposition.visual_impaired
COVER = av.stream.Disposition.attached_pic
PICTURE = Film(codec="mjpeg", pixels="yuvj420p", size=(96, 96), times=even(1), sounds=())
SECOND = Film(size=(96, 80), sounds=())
BARE = Film(sounds=())


def cover(folder: Path, film: Film | None, suffix: str = "mp4") -> Path:
    """A file whose first picture is the cover of an album."""
    picture = Film(**{**vars(PICTURE), "disposition": COVER, "suffix": suffix})
    return together(folder / f"cover.{suffix}", picture, *([] if film is None else [film]))


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_cover_is_no_video(tmp_path: Path, suffix: str) -> None:
    check_picture(Film(), read_clip(cover(tmp_path, Film(), suffix)))
    with pytest.raises(SparksError, match="no video stream"):
        read_clip(cover(tmp_path, None))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("marked", [True, False])
def test_the_picture_that_moves_is_read(tmp_path: Path, suffix: str, marked: bool) -> None:
    """A preview may come first, and may even be marked as what is to be shown."""
    preview = Film(**{**vars(PICTURE), "disposition": DEFAULT if marked else 0})
    clip = read_clip(together(tmp_path / f"film.{suffix}", preview, Film()))
    check_picture(Film(), clip)
    check_sound(Film(), clip)


@pytest.mark.parametrize("suffix", ["mkv", "mov"])
def test_of_two_films_the_default_one_is_read(tmp_path: Path, suffix: str) -> None:
    main = Film(disposition=DEFAULT)
    check_picture(main, read_clip(together(tmp_path / f"film.{suffix}", SECOND, main)))
    check_picture(main, read_clip(together(tmp_path / f"film.{suffix}", main, SECOND)))


def test_of_two_default_films_the_first_is_read(tmp_path: Path) -> None:
    films = [Film(disposition=DEFAULT), Film(size=(96, 80), sounds=(), disposition=DEFAULT)]
    check_picture(films[0], read_clip(together(tmp_path / "film.mkv", *films)))


def test_an_animated_picture_moves(tmp_path: Path) -> None:
    """AVIF holds one frame as a still before the sequence."""
    film = Film("avif", "libsvtav1", options={"preset": "12"}, sounds=())
    path = film.write(tmp_path)
    with av.open(str(path)) as container:
        assert [stream.frames for stream in container.streams.video] == [1, 25]
    check_picture(film, read_clip(path))


OTHER = Sound(end=1, click=0.2)
TRACKS = {
    "commentary-first": (Sound(click=0.2, disposition=COMMENT), Sound(disposition=DEFAULT)),
    "default-second": (OTHER, Sound(disposition=DEFAULT)),
    "default-first": (Sound(disposition=DEFAULT), OTHER),
    "both-default": (Sound(disposition=DEFAULT), Sound(click=0.2, disposition=DEFAULT)),
    "commentary-that-is-default": (
        Sound(click=0.2, disposition=DEFAULT | COMMENT),
        Sound(disposition=0),
    ),
    "for-the-blind": (Sound(click=0.2, disposition=DEFAULT | FOR_THE_BLIND), Sound()),
}


@pytest.mark.parametrize("name", TRACKS)
def test_the_sound_that_a_player_plays_is_read(tmp_path: Path, name: str) -> None:
    clip = read_clip(Film("mkv", sounds=TRACKS[name]).write(tmp_path))
    assert clicks(clip)[0] == pytest.approx(CLICK, abs=0.02)


def test_the_default_sound_of_a_mov_is_read(tmp_path: Path) -> None:
    path = Film("mov", sounds=TRACKS["default-second"]).write(tmp_path)
    assert clicks(read_clip(path))[0] == pytest.approx(CLICK, abs=0.02)


def renamed(path: Path, codec: bytes, unknown: bytes, *, which: int = 0) -> Path:
    """A stream's codec becomes one that FFmpeg does not know."""
    whole = bytearray(path.read_bytes())
    start = -1
    for _ in range(which + 1):
        start = whole.index(codec, start + 1)
    whole[start : start + 4] = unknown
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
def test_sound_that_can_be_read_is_taken_and_told(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As of phones whose first track is spatial sound."""
    tracks = (Sound("alac", click=0.2, disposition=DEFAULT), Sound())
    path = renamed(Film(suffix, sounds=tracks).write(tmp_path), b"alac", b"apac")
    with caplog.at_level(logging.WARNING):
        clip = read_clip(path)
    assert clicks(clip)[0] == pytest.approx(CLICK, abs=0.02)
    assert "its sound in stream 1 cannot be decoded; stream 2 is read" in caplog.text
    assert len(caplog.records) == 1


def test_sound_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    path = renamed(Film("mov", sounds=(Sound("alac"),)).write(tmp_path), b"alac", b"apac")
    with pytest.raises(SparksError, match="cannot decode the sound"):
        read_clip(path)


def test_an_unreadable_track_behind_the_sound_is_not_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = renamed(Film("mov", sounds=(Sound(), Sound("alac"))).write(tmp_path), b"alac", b"apac")
    with caplog.at_level(logging.WARNING):
        check_sound(Film(), read_clip(path))
    assert not caplog.records


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_a_picture_that_can_be_read_is_taken_and_told(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = together(tmp_path / f"film.{suffix}", SECOND, Film())
    with caplog.at_level(logging.WARNING):
        clip = read_clip(renamed(path, b"avc1", b"zzz9", which=suffix == "mp4"))
    check_picture(Film(), clip)
    check_sound(Film(), clip)
    assert "its picture in stream 0 cannot be decoded" in caplog.text


def test_a_picture_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    path = renamed(BARE.write(tmp_path), b"avc1", b"zzz9", which=1)
    with pytest.raises(SparksError, match=r"cannot decode .*film\.mp4"):
        read_clip(path)
