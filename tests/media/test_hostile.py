"""Difficult files are read right, or refused in one line."""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from sparks.cli import main
from sparks.errors import SparksError
from sparks.media import ffmpeg as decoding
from sparks.media.clip import Clip, fit_clip, read_clip
from tests.editors.conftest import write_model
from tests.media.zoo import CLICK, MARK, Film, Sound, even
from tests.workplace import REDNESS

NTSC, FILM_RATE = Fraction(30000, 1001), Fraction(24000, 1001)
QUICK = {"cpu-used": "8", "deadline": "realtime"}
QUIET = {"x265-params": "log-level=none"}
UNEVEN = [Fraction(index, 25) + Fraction(index % 3, 100) for index in range(25)]
PAUSE = even(8) + even(8, start=Fraction(18, 25))
OPUS, PCM = (Sound("libopus"),), (Sound("pcm_s16le"),)

FILMS = {
    "h264": Film(),
    "h264-444": Film(pixels="yuv444p"),
    "h264-10-bit": Film(pixels="yuv420p10le"),
    "h264-full-range": Film(pixels="yuvj420p"),
    "h264-lossless": Film(options={"qp": "0"}),
    "h264-mkv": Film("mkv"),
    "h264-mov": Film("mov"),
    "h264-ts": Film("ts"),
    "h264-flv": Film("flv", sounds=(Sound(rate=44100),)),
    "h264-avi": Film("avi", sounds=PCM),
    "h264-fragments": Film(header={"movflags": "frag_keyframe+empty_moov"}),
    "h264-bare": Film("h264", sounds=()),
    "hevc": Film(codec="libx265", options=QUIET),
    "hevc-10-bit": Film(codec="libx265", pixels="yuv420p10le", options=QUIET),
    "hevc-bare": Film("hevc", codec="libx265", options=QUIET, sounds=()),
    "vp8": Film("webm", "libvpx", sounds=OPUS),
    "vp9": Film("webm", "libvpx-vp9", sounds=OPUS, options=QUICK),
    "vp9-10-bit": Film("webm", "libvpx-vp9", "yuv420p10le", options=QUICK, sounds=OPUS),
    "vp9-alpha": Film("webm", "libvpx-vp9", "yuva420p", options=QUICK, sounds=OPUS),
    "av1": Film(codec="libsvtav1", options={"preset": "12"}),
    "av1-10-bit": Film("mkv", "libsvtav1", "yuv420p10le", options={"preset": "12"}),
    "mpeg4": Film(codec="mpeg4"),
    "mpeg4-avi": Film("avi", "mpeg4", sounds=PCM),
    "mpeg2": Film("mpg", "mpeg2video", sounds=(Sound("mp2"),)),
    "prores-422": Film("mov", "prores_ks", "yuv422p10le", sounds=(Sound("pcm_s24le"),)),
    "prores-4444": Film("mov", "prores_ks", "yuva444p10le", sounds=PCM),
    "mjpeg": Film("avi", "mjpeg", "yuvj420p", sounds=PCM),
    "ffv1-16-bit": Film("mkv", "ffv1", "yuv444p16le", sounds=(Sound("flac"),)),
    "raw": Film("nut", "rawvideo", "rgb24", sounds=(Sound("pcm_f32le"),)),
    "gif": Film("gif", "gif", "rgb8", sounds=()),
    "apng": Film("apng", "apng", "rgb24", sounds=()),
    "23.976": Film(times=even(24, FILM_RATE), rate=FILM_RATE),
    "29.97-in-milliseconds": Film("mkv", times=even(30, NTSC), rate=NTSC),
    "1-fps": Film(times=even(6, 1), rate=Fraction(1), span=6, sounds=(Sound(end=6),)),
    "240-fps": Film(times=even(240, 240), rate=Fraction(240)),
    "variable": Film(times=UNEVEN, exact=True),
    "variable-mkv": Film("mkv", times=UNEVEN, exact=True),
    "pause": Film(times=PAUSE, exact=True),
    "pause-gif": Film("gif", "gif", "rgb8", times=PAUSE, sounds=()),
    "one-frame": Film(times=even(1)),
    "starts-at-ten": Film("mkv", times=even(25, start=10), sounds=(Sound(start=10, end=11),)),
    "odd-size": Film(size=(63, 47), pixels="yuv444p"),
    "tall": Film(size=(16, 512)),
    "on-its-side": Film(rotation=90),
    "on-its-head": Film(rotation=180),
    "phone": Film("mov", rotation=-90),
    "anamorphic": Film(aspect=Fraction(2)),
    "silent": Film(sounds=()),
    "mono": Film(sounds=(Sound(layout="mono"),)),
    "5.1": Film(sounds=(Sound(layout="5.1"),)),
    "5.1-ac3": Film("mkv", sounds=(Sound("ac3", layout="5.1"),)),
    "8-khz": Film(sounds=(Sound(rate=8000),)),
    "96-khz": Film(sounds=(Sound(rate=96000),)),
    "mp3": Film(sounds=(Sound("libmp3lame", rate=44100),)),
    "opus-mp4": Film(sounds=OPUS),
    "sound-longer": Film(sounds=(Sound(end=3),)),
    "sound-shorter": Film(sounds=(Sound(end=0.6),)),
    "sound-late": Film(sounds=(Sound(start=0.26),)),
    "sound-late-mkv": Film("mkv", sounds=(Sound(start=0.26),)),
    "sound-with-a-hole": Film("mkv", sounds=(Sound(gap=(0.2, 0.4)),)),
    "two-tracks": Film(sounds=(Sound(), Sound(end=0.2))),
}


def written(film: Film, folder: Path) -> Path:
    try:
        return film.write(folder)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this PyAV cannot encode {film.codec} {film.pixels}: {error}")


def check_picture(film: Film, clip: Clip) -> None:
    """Every frame is the one a viewer sees at its time, or, by half a step, the next."""
    filmed = torch.rot90(clip.frames, -film.rotation // 90, (2, 3))
    height, width = filmed.shape[-2:]
    levels = 255 * filmed[:, :, height * 3 // 4 :, width * 3 // 4 :].mean((1, 2, 3))
    marked = 255 * filmed[:, :, : height // 4, : width // 4].mean((1, 2, 3))
    assert (width, height) == (film.size[0] * (film.aspect or 1), film.size[1])
    for index, level in enumerate(levels.tolist()):
        greys = [film.grey(time) for time in shown(film.times, index / clip.fps, 1 / clip.fps)]
        assert min(abs(level - grey) for grey in greys) < 4, (index, level, greys)
    assert ((marked - levels - MARK).abs() < 6).all()


def shown(times: list[Fraction], now: Fraction, period: Fraction) -> list[Fraction]:
    """Which frames may stand at `now` after the first; files round to milliseconds."""
    rounding, now = Fraction(3, 1000), times[0] + now
    leads = [min(period, b - a) / 2 for a, b in pairwise(times)]
    begins = [time - lead for time, lead in zip(times, [Fraction(0), *leads], strict=True)]
    ends = [*begins[1:], now]
    return [
        time
        for time, begin, end in zip(times, begins, ends, strict=True)
        if begin - rounding <= now <= end + rounding
    ]


def check_sound(film: Film, clip: Clip) -> None:
    if not film.sounds:
        assert clip.waveform is None
        return
    assert clip.waveform is not None
    first = film.sounds[0]
    assert clip.sample_rate == first.rate
    assert clip.waveform.shape == (
        1 if first.layout == "mono" else 2,
        round(clip.duration * clip.sample_rate),
    )
    loud = (clip.waveform.abs().amax(0) > 0.25).nonzero().flatten() / clip.sample_rate
    if clip.duration > CLICK and first.start == 0:
        assert loud.min() == pytest.approx(CLICK, abs=0.01)
        assert loud.max() == pytest.approx(CLICK + 0.02, abs=0.01)


@pytest.mark.parametrize("name", FILMS)
def test_frames_and_sound_keep_their_time(tmp_path: Path, name: str) -> None:
    film = FILMS[name]
    path = written(film, tmp_path)
    last = film.times[-1] - film.times[-2] if len(film.times) > 1 else Fraction(1, 25)
    for fps in (None, Fraction(25, 2)):
        clip = read_clip(path, fps=fps)
        seconds = film.times[-1] - film.times[0] + last
        assert abs(clip.duration - seconds) <= 1.01 / clip.fps
        check_picture(film, clip)
        check_sound(film, clip)


def joined(folder: Path, *films: Film) -> Path:
    """Transport streams may simply follow each other."""
    path = folder / "joined.ts"
    path.write_bytes(b"".join(film.write(folder).read_bytes() for film in films))
    return path


def with_cover(folder: Path, film: Film | None) -> Path:
    """A file whose first picture is the cover of an album."""
    path = folder / "cover.mp4"
    picture = av.VideoFrame.from_ndarray(Film().picture(Fraction(0)), format="rgb24")
    source = None if film is None else av.open(str(film.write(folder)))
    with av.open(str(path), "w") as out:
        cover = out.add_stream("mjpeg", rate=1)
        (cover.width, cover.height), cover.pix_fmt = (64, 48), "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copies = [] if source is None else [out.add_stream_from_template(s) for s in source.streams]
        out.mux(cover.encode(picture))
        out.mux(cover.encode(None))
        if source is not None:
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)
            source.close()
    return path


def test_a_film_may_change_its_size_and_sound_on_the_way(tmp_path: Path) -> None:
    first = Film("ts", sounds=(Sound("mp2"),))
    later = Film(
        "ts", size=(96, 80), times=even(25, start=1), sounds=(Sound("mp2", 44100, "mono", 1, 2),)
    )
    clip = read_clip(joined(tmp_path, first, later))
    assert clip.frames.shape[1:] == (3, 48, 64)
    assert clip.duration >= 1
    check_sound(first, clip)


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    clip = read_clip(with_cover(tmp_path, Film()))
    check_picture(Film(), clip)
    with pytest.raises(SparksError, match="no video stream"):
        read_clip(with_cover(tmp_path, None))


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


def test_half_a_frame_is_left_out(tmp_path: Path) -> None:
    path = cut(Film("ts", "mpeg2video", size=(320, 240), sounds=()), 0.53)(tmp_path)
    with av.open(str(path)) as container:
        damaged = [frame.is_corrupt for frame in container.decode(video=0)]
    assert damaged[-1]
    assert len(read_clip(path).frames) == damaged.count(False)


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def cut(film: Film, share: float) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = film.write(folder)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path

    return write


def patched(film: Film, offset: int, value: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = film.write(folder)
        whole = bytearray(path.read_bytes())
        whole[offset : offset + len(value)] = value
        path.write_bytes(whole)
        return path

    return write


def folder_called_mp4(folder: Path) -> Path:
    (folder / "film.mp4").mkdir()
    return folder / "film.mp4"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "film.mp4")
    return folder / "film.mp4"


def dangling(folder: Path) -> Path:
    (folder / "film.mp4").symlink_to(folder / "gone.mp4")
    return folder / "film.mp4"


def archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "film.mp4", "w") as file:
        file.writestr("film.txt", "no film")
    return folder / "film.mp4"


def playlist(folder: Path) -> Path:
    film = Film("ts").write(folder)
    (folder / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n"
    )
    return folder / "list.m3u8"


def script(folder: Path) -> Path:
    film = Film("ts").write(folder)
    (folder / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {film.name}\n")
    return folder / "list.ffconcat"


def sound_alone(folder: Path) -> Path:
    path = folder / "sound.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48000, layout="stereo")
        for part in Sound().frames():
            out.mux(stream.encode(part))
    return path


GIF = Film("gif", "gif", "rgb8", sounds=())
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "film.mp4", "no video file at"),
    "name-too-long": (lambda folder: folder / ("x" * 5000), "no video file at"),
    "name-with-nul": (lambda folder: folder / "a\0b.mp4", "no video file at"),
    "dangling-link": (dangling, "no video file at"),
    "folder": (folder_called_mp4, "is a folder"),
    "pipe": (pipe, "is no plain file"),
    "device": (lambda _: Path("/dev/zero"), "is no plain file"),
    "zero-bytes": (text("film.mp4", b""), "cannot decode"),
    "one-byte": (text("film.mp4", b"\0"), "cannot decode"),
    "words": (text("film.mp4", "It was a dark and stormy night. " * 99), "cannot decode"),
    "page": (text("film.mp4", "<!DOCTYPE html><html><body>404</body></html>"), "cannot decode"),
    "noise": (text("film.mp4", np.random.default_rng(0).bytes(9999)), "cannot decode"),
    "archive": (archive, "cannot decode"),
    "playlist": (playlist, "cannot decode|no video"),
    "script": (script, "cannot decode|no video"),
    "sdp": (
        text("film.sdp", "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
        "cannot decode",
    ),
    "cut-in-the-header": (
        cut(Film(header={"movflags": "faststart"}), 0.3),
        "cannot decode|no decodable frame",
    ),
    "without-its-index": (cut(Film(), 0.7), "cannot decode"),
    "cut-mkv": (cut(Film("mkv"), 0.02), "cannot decode"),
    "header-alone": (cut(Film("nut", "rawvideo", "rgb24", sounds=()), 0.002), "cannot decode"),
    "huge": (patched(GIF, 6, b"\x80\x3e\x80\x3e"), "16000x16000 pixels"),
    "sound-alone": (sound_alone, "no video stream"),
    "sound-with-a-cover": (lambda folder: with_cover(folder, None), "no video stream"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    path = make(tmp_path)
    with pytest.raises(SparksError, match=message) as refusal:
        read_clip(path)
    assert "\n" not in str(refusal.value)


def test_a_length_that_memory_cannot_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = Film(times=[Fraction(0), Fraction(9000)], exact=True, span=9000, sounds=()).write(
        tmp_path
    )
    with pytest.raises(SparksError, match=r"set clip\.num_frames \(e\.g\. 89\)"):
        read_clip(path, fps=Fraction(25))
    assert len(read_clip(path, fps=Fraction(25), max_frames=25).frames) == 25


def test_a_file_that_does_not_say_its_length_is_stopped_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Film("h264", sounds=()).write(tmp_path)
    monkeypatch.setattr(decoding, "MOST_VALUES", 10 * 3 * 48 * 64)
    with pytest.raises(SparksError, match="11 or more frames of 64x48"):
        read_clip(path)
    assert len(read_clip(path, max_frames=10).frames) == 10


def test_no_frame_is_blown_up_beyond_bounds(tmp_path: Path) -> None:
    path = Film(size=(4096, 16), times=even(2), sounds=()).write(tmp_path)
    for size in ((512, 512), (0, 64), (-64, 64), (2**20, 2**20)):
        with pytest.raises(SparksError, match=r"choose another clip\.size"):
            read_clip(path, size=size)


@pytest.mark.parametrize("name", ["ünï 'x'.mp4", "a%03d.mp4", "http:x.mp4", "-i", "a\nb", "\udcff"])
def test_names_mean_nothing(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        shutil.move(Film(sounds=()).write(tmp_path), name)
    except (OSError, UnicodeError):
        pytest.skip(f"this file system takes no {name!r}")
    assert len(read_clip(name).frames) == 25


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "gif"])
def test_flipped_bits_never_crash(tmp_path: Path, suffix: str) -> None:
    film = GIF if suffix == "gif" else Film(suffix, sounds=PCM if suffix == "avi" else (Sound(),))
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


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    write_model(folder / "model")
    (folder / "critic.py").write_text(REDNESS)
    (folder / "model" / "sparks.yaml").write_text(
        "sampling: {num_inference_steps: 2, grad_steps: 1}\n"
        "guidance: {final: {stg_blocks: []}}\n"
        "objective: {weights: {lpips: 0, temporal: 0}}\n"
        "clip: {size: [32, 32], fps: 12.5, num_frames: 9}\n"
    )
    return folder


def solve(
    workplace: Path, video: Path, output: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> int:
    monkeypatch.chdir(workplace)
    command = ["sparks", "solve", str(video), "--prompt", "red ball jumps", "--model", "model"]
    command += ["--critic", "critic.py:Redness", "--budget", "qwen_calls=1"]
    monkeypatch.setattr("sys.argv", [*command, "--output", str(output), *more])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("name", ["variable", "phone", "gif", "5.1-ac3"])
def test_difficult_files_are_edited_whole(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    film = FILMS[name]
    path = written(film, tmp_path)
    assert solve(workplace, path, tmp_path / "run", monkeypatch) == 0
    edited = read_clip(tmp_path / "run" / "edited.mp4")
    assert edited.frames.shape == (9, 3, 32, 32)
    assert edited.fps == Fraction(25, 2)
    check_sound(film, edited)


@pytest.mark.parametrize("name", ["folder", "pipe", "words", "huge"])
def test_what_cannot_be_edited_ends_with_one_line_and_code_2(
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    make, message = REFUSED[name]
    path = make(tmp_path)
    assert solve(workplace, path, tmp_path / "run", monkeypatch) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message.split("|")[0] in last
    assert not (tmp_path / "run").exists()


def test_films_too_short_or_small_for_the_model_are_refused(tmp_path: Path) -> None:
    one = read_clip(Film(times=even(1)).write(tmp_path))
    with pytest.raises(SparksError, match="1 usable frames"):
        fit_clip(one, multiple=8, temporal=4)
    tiny = read_clip(Film(size=(4, 4)).write(tmp_path))
    with pytest.raises(SparksError, match="multiples of 8"):
        fit_clip(tiny, multiple=8, temporal=4)
