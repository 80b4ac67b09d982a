"""What a header claims of its rate is held against the timestamps; jumps of time are closed."""

import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from sparks.media.clip import read_clip
from sparks.media.timing import frame_rate
from tests.media.zoo import Film, Sound, check_picture, check_sound, even, middle

NTSC = Fraction(30000, 1001)
OPUS = (Sound("libopus"),)
BROWSER = {"cpu-used": "8", "deadline": "realtime"}


def milliseconds(times: list[Fraction]) -> list[Fraction]:
    return [Fraction(round(time * 1000), 1000) for time in times]


def jittered(count: int, fps: int) -> list[Fraction]:
    """Times as a busy browser gives them, up to 10 ms late."""
    late = [Fraction(index * index % 11, 1000) for index in range(count)]
    return milliseconds([time + more for time, more in zip(even(count, fps), late, strict=True)])


def dropped(times: list[Fraction]) -> list[Fraction]:
    return [time for index, time in enumerate(times) if index % 7 != 3]


@pytest.mark.parametrize(
    ("nominal", "average", "times", "rate"),
    [
        (25, 25, even(25), 25),
        (NTSC, NTSC, even(30, NTSC), NTSC),
        (1000, 1000, milliseconds(even(90, 30)), 30),
        (1000, None, milliseconds(even(90, 30)), 30),
        (None, None, milliseconds(even(90, 30)), 30),
        (90000, None, even(60, NTSC), NTSC),
        (1000, 1000, milliseconds(even(280, NTSC)), NTSC),
        (1000, 1000, milliseconds(even(280, Fraction(24000, 1001))), Fraction(24000, 1001)),
        (1000, 1000, milliseconds(even(90, 60)), 60),
        (1000, 1000, milliseconds(even(48, 12)), 12),
        (24, 24, even(50, 25), 25),  # not far off, and still wrong
        (50, 25, even(25), 25),  # fields
        (25, Fraction(77, 5), even(8) + even(8, start=1), 25),  # a pause
        (240, 240, milliseconds(even(240, 240)), 240),
        (30, 30, milliseconds(even(3, 30)), 30),
        (25, 25, [Fraction(0)], 25),
        (50, 25, [], 25),
        (None, None, [], 25),
    ],
)
def test_a_rate_is_what_the_timestamps_say(
    nominal: Fraction | None, average: Fraction | None, times: list[Fraction], rate: Fraction
) -> None:
    claims = [None if claim is None else Fraction(claim) for claim in (nominal, average)]
    assert frame_rate(claims[0], claims[1], times) == rate


def test_a_rate_of_frames_that_come_late_or_never_is_near_theirs() -> None:
    times = jittered(90, 30)
    assert frame_rate(Fraction(1000), Fraction(1000), times) == 30
    assert frame_rate(Fraction(1000), None, dropped(times)) == 30
    assert frame_rate(Fraction(1000), Fraction(129, 5), dropped(times)) == Fraction(129, 5)


def without_default_duration(path: Path) -> Path:
    """As Matroska of a browser: no rate anywhere in the header."""
    whole = path.read_bytes()
    start = whole.index(b"\x23\xe3\x83")
    length = 4 + (whole[start + 3] & 0x7F)
    void = b"\xec" + bytes([0x80 | length - 2]) + bytes(length - 2)
    path.write_bytes(whole[:start] + void + whole[start + length :])
    return path


RECORDED = {
    "webm": Film("webm", "libvpx", options=BROWSER, sounds=OPUS),
    "webm-vp9": Film("webm", "libvpx-vp9", options=BROWSER, sounds=OPUS),
    "mkv-h264": Film("mkv", sounds=OPUS, options={"bf": "0"}),
    "mkv-b-frames": Film("mkv", sounds=OPUS),
    "webm-live": Film("webm", "libvpx", options=BROWSER, sounds=OPUS, header={"live": "1"}),
    "mp4": Film(),
}


@pytest.mark.parametrize("fps", [30, 15, NTSC])
@pytest.mark.parametrize("name", RECORDED)
def test_recordings_that_claim_1000_frames_a_second_are_read_at_theirs(
    tmp_path: Path, name: str, fps: Fraction
) -> None:
    times = milliseconds(even(36, fps))
    film = Film(**vars(RECORDED[name]) | {"times": times, "rate": Fraction(1000), "span": 3.0})
    path = film.write(tmp_path)
    for read in (path, *([without_default_duration(path)] if film.suffix != "mp4" else [])):
        clip = read_clip(read)
        assert clip.fps == pytest.approx(fps, rel=0.002)
        assert len(clip.frames) == 36
        check_picture(film, clip)
        check_sound(film, clip)


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("name", RECORDED)
def test_recordings_with_jitter_and_lost_frames_keep_their_time(
    tmp_path: Path, name: str, lossy: bool
) -> None:
    times = jittered(40, 30)
    recording = RECORDED[name]
    film = Film(
        **vars(recording)
        | {"rate": Fraction(1000), "span": 2.0, "times": dropped(times) if lossy else times}
    )
    path = film.write(tmp_path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        claims = [rate for rate in (stream.base_rate, stream.average_rate) if rate]
    assert name == "mp4" or max(claims) > 100
    clip = read_clip(path)
    expected = pytest.approx(27, abs=4) if name == "mp4" else pytest.approx(30, rel=0.002)
    assert clip.fps == expected
    assert clip.duration == pytest.approx(float(times[-1]) + 0.033, abs=0.06)
    check_picture(film, clip)
    check_sound(film, clip)


def joined(folder: Path, *films: Film) -> Path:
    """Streams of these forms may simply follow each other."""
    path = folder / f"joined.{films[0].suffix}"
    path.write_bytes(b"".join(film.write(folder).read_bytes() for film in films))
    return path


def at(start: Fraction | int, suffix: str = "ts") -> Film:
    """One second of film whose clock begins at `start`, with a click in its middle."""
    sound = Sound("mp2", start=float(start), end=float(start) + 1, click=float(start) + 0.5)
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    return Film(suffix, codec, times=even(25, start=start), sounds=(sound,))


JUMPS: dict[str, tuple[Film, ...]] = {
    "forward": (at(0), at(20000)),
    "forward-a-minute": (at(0), at(60)),
    "back": (at(20000), at(0)),
    "back-to-the-start": (at(0), at(0)),
    "to-and-fro": (at(0), at(5000), at(100)),
    "programme-stream": (at(0, "mpg"), at(5000, "mpg")),
    "twice-the-same": (at(7), at(7), at(7)),
}


@pytest.mark.parametrize("name", JUMPS)
def test_jumps_of_time_are_closed_and_told(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    films = JUMPS[name]
    path = joined(tmp_path, *films)
    with caplog.at_level(logging.WARNING):
        clip = read_clip(path)
    assert f"{len(films) - 1} jump(s) in its time closed" in caplog.text
    assert len(caplog.records) == 1
    assert clip.fps == 25
    assert abs(len(clip.frames) - 25 * len(films)) <= len(films)
    greys = 255 * middle(clip.frames, 1, 1).mean(1)
    again = [index for index in range(1, len(greys)) if greys[index] < greys[index - 1] - 80]
    assert again == pytest.approx([25 * part for part in range(1, len(films))], abs=2)
    loud = (clip.waveform.abs().amax(0) > 0.25).nonzero().flatten() / clip.sample_rate
    for part in range(len(films)):
        assert (loud - (part + 0.51)).abs().min() < 0.06
    assert len(read_clip(path, max_frames=30).frames) == 30


def test_the_clock_of_a_transport_stream_may_run_over(tmp_path: Path) -> None:
    film = at(Fraction(2**33, 90000) - Fraction(1, 2))
    clip = read_clip(film.write(tmp_path))
    check_picture(film, clip)
    assert clip.waveform is not None
    loud = (clip.waveform.abs().amax(0) > 0.25).nonzero().flatten() / clip.sample_rate
    assert float(loud.min()) == pytest.approx(0.5, abs=0.03)


def test_a_pause_in_a_transport_stream_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        clip = read_clip(joined(tmp_path, at(0), at(5)))
    assert "1 pause(s) in its time" in caplog.text
    assert clip.duration == pytest.approx(6, abs=0.1)


def test_plain_files_are_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    makers: list[Callable[[Path], Path]] = [Film().write, Film("ts").write, at(3).write]
    with caplog.at_level(logging.WARNING):
        for make in makers:
            read_clip(make(tmp_path))
    assert not caplog.records
