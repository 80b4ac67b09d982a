"""Difficult media are read right: every frame in time, in colour, the right way up; the sound."""

from fractions import Fraction
from pathlib import Path

import pytest

from sparks.media.clip import read_clip
from tests.media.zoo import FULL, Film, Sound, check_picture, check_sound, even, tagged

NTSC, FILM_RATE = Fraction(30000, 1001), Fraction(24000, 1001)
QUICK = {"cpu-used": "8", "deadline": "realtime"}
QUIET = {"x265-params": "log-level=none"}
LB = {"profile": "dnxhr_lb"}
UNEVEN = [Fraction(index, 25) + Fraction(index % 3, 100) for index in range(25)]
PAUSE = even(8) + even(8, start=Fraction(18, 25))
OPUS, PCM, FLAC = (Sound("libopus"),), (Sound("pcm_s16le"),), (Sound("flac"),)
NARROW = Sound(rate=16000, layout="mono")
SHORT = {"times": even(5), "sounds": ()}

CODECS = {
    "h264": Film(),
    "h264-444": Film(pixels="yuv444p"),
    "h264-422": Film(pixels="yuv422p"),
    "h264-10-bit": Film(pixels="yuv420p10le"),
    "h264-full-range": Film(pixels="yuvj420p"),
    "h264-lossless": Film(options={"qp": "0"}),
    "h264-rgb": Film(codec="libx264rgb", pixels="rgb24"),
    "h264-mkv": Film("mkv"),
    "h264-mov": Film("mov"),
    "h264-ts": Film("ts"),
    "h264-flv": Film("flv", sounds=(Sound(rate=44100),)),
    "h264-avi": Film("avi", sounds=PCM),
    "h264-fragments": Film(header={"movflags": "frag_keyframe+empty_moov"}),
    "h264-bare": Film("h264", sounds=()),
    "h264-without-b-frames": Film("ts", options={"bf": "0"}),
    "h264-open-groups": Film("mkv", options={"x264-params": "open-gop=1:keyint=10"}),
    "hevc": Film(codec="libx265", options=QUIET),
    "hevc-10-bit": Film(codec="libx265", pixels="yuv420p10le", options=QUIET),
    "hevc-ts": Film("ts", codec="libx265", options=QUIET),
    "hevc-bare": Film("hevc", codec="libx265", options=QUIET, sounds=()),
    "vp8": Film("webm", "libvpx", sounds=OPUS),
    "vp9": Film("webm", "libvpx-vp9", sounds=OPUS, options=QUICK),
    "vp9-alpha": Film("webm", "libvpx-vp9", "yuva420p", options=QUICK, sounds=OPUS),
    "av1": Film(codec="libsvtav1", options={"preset": "12"}),
    "av1-10-bit": Film("mkv", "libsvtav1", "yuv420p10le", options={"preset": "12"}),
    "avif": Film("avif", "libsvtav1", options={"preset": "12"}, sounds=()),
    "mpeg1": Film("mpg", "mpeg1video", sounds=(Sound("mp2"),)),
    "mpeg2": Film("mpg", "mpeg2video", sounds=(Sound("mp2"),)),
    "mpeg2-ts": Film("ts", "mpeg2video", sounds=(Sound("ac3"),)),
    "mpeg4": Film(codec="mpeg4"),
    "mpeg4-avi": Film("avi", "mpeg4", sounds=PCM),
    "wmv": Film("asf", "wmv2", sounds=(Sound("libmp3lame"),)),
    "h263": Film("3gp", "h263", size=(176, 144), aspect=Fraction(12, 11), sounds=(NARROW,)),
    "prores-422": Film("mov", "prores_ks", "yuv422p10le", sounds=(Sound("pcm_s24le"),)),
    "prores-4444": Film("mov", "prores_ks", "yuva444p10le", sounds=PCM),
    "dnxhr": Film("mov", "dnxhd", "yuv422p", size=(256, 144), options=LB, tags=tagged(1)),
    "mjpeg": Film("avi", "mjpeg", "yuvj420p", sounds=PCM),
    "mjpeg-mov": Film("mov", "mjpeg", "yuvj422p", sounds=PCM),
    "ffv1-16-bit": Film("mkv", "ffv1", "yuv444p16le", sounds=FLAC),
    "ffv1-rgb": Film("mkv", "ffv1", "bgr0", sounds=FLAC),
    "utvideo": Film("avi", "utvideo", "gbrp", sounds=PCM),
    "huffyuv": Film("avi", "huffyuv", "yuv422p", sounds=PCM),
    "png-mov": Film("mov", "png", "rgb24", sounds=PCM),
    "qtrle": Film("mov", "qtrle", "rgb24", sounds=PCM),
    "raw": Film("nut", "rawvideo", "rgb24", sounds=(Sound("pcm_f32le"),)),
    "raw-packed": Film("mov", "rawvideo", "uyvy422", sounds=PCM),
    "dv": Film("dv", "dvvideo", size=(720, 576), aspect=Fraction(16, 15), sounds=(), times=even(5)),
    "gif": Film("gif", "gif", "rgb8", sounds=()),
    "apng": Film("apng", "apng", "rgb24", sounds=()),
}

TIMES = {
    "23.976": Film(times=even(24, FILM_RATE), rate=FILM_RATE),
    "29.97-in-milliseconds": Film("mkv", times=even(30, NTSC), rate=NTSC),
    "1-fps": Film(times=even(6, 1), rate=Fraction(1), span=6, sounds=(Sound(end=6),)),
    "50-fps": Film(times=even(50, 50), rate=Fraction(50)),
    "240-fps": Film(times=even(240, 240), rate=Fraction(240)),
    "variable": Film(times=UNEVEN, exact=True),
    "variable-mkv": Film("mkv", times=UNEVEN, exact=True),
    "pause": Film(times=PAUSE, exact=True),
    "pause-gif": Film("gif", "gif", "rgb8", times=PAUSE, sounds=()),
    "one-frame": Film(times=even(1)),
    "two-frames": Film(times=even(2)),
    "starts-at-ten": Film("mkv", times=even(25, start=10), sounds=(Sound(start=10, end=11),)),
    "starts-at-ten-ts": Film("ts", times=even(25, start=10), sounds=(Sound(start=10, end=11),)),
}

SHAPES = {
    "odd-size": Film(size=(63, 47), pixels="yuv444p"),
    "tall": Film(size=(16, 512), options={"crf": "10"}),
    "wide": Film(size=(512, 16), options={"crf": "10"}),
    "on-its-side": Film(rotation=90),
    "on-its-head": Film(rotation=180),
    "phone": Film("mov", rotation=-90),
    "anamorphic": Film(aspect=Fraction(2)),
    "anamorphic-mkv": Film("mkv", aspect=Fraction(2)),
    "anamorphic-on-its-side": Film(aspect=Fraction(2), rotation=90),
}

# All eight ways to turn and mirror by right angles; the rest of the zoo has the first.
MATRICES = {
    "mirrored": (-1, 0, 0, 1),
    "upside-down": (-1, 0, 0, -1),
    "mirrored-upside-down": (1, 0, 0, -1),
    "clockwise": (0, 1, -1, 0),
    "anticlockwise": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed-the-other-way": (0, -1, -1, 0),
}
TURNED = {
    f"{name}-{suffix}": Film(suffix, turn=matrix)
    for name, matrix in MATRICES.items()
    for suffix in ("mp4", "mov")
} | {
    "phone-hevc": Film("mov", "libx265", options=QUIET, turn=MATRICES["clockwise"]),
    "phone-without-sound": Film(turn=MATRICES["anticlockwise"], sounds=()),
    "selfie-10-bit": Film("mov", pixels="yuv420p10le", turn=MATRICES["transposed"]),
}

COLOURS = {
    f"{name}-{kind}": Film(tags=tagged(matrix, **tags), pixels=pixels)
    for name, matrix in (
        *(("bt709", 1), ("fcc", 4), ("bt470bg", 5), ("smpte170m", 6), ("smpte240m", 7)),
        ("bt2020", 9),
    )
    for kind, tags, pixels in (
        ("limited", {"color_range": 1}, "yuv420p"),
        ("full", FULL, "yuv420p"),
        ("10-bit", {"color_range": 1}, "yuv420p10le"),
    )
} | {
    "untagged-720": Film(size=(1280, 720), **SHORT),
    "untagged-1280-columns": Film(size=(1280, 96), **SHORT),
    "untagged-578-lines": Film(size=(96, 578), **SHORT),
    "untagged-576-lines": Film(size=(720, 576), **SHORT),
    "untagged-480-lines": Film(size=(720, 480), **SHORT),
    "untagged-720-mkv": Film("mkv", size=(1280, 720), **SHORT),
    "untagged-720-mpeg2": Film("ts", "mpeg2video", size=(1280, 720), **SHORT),
    "untagged-720-mpeg4": Film("avi", "mpeg4", size=(1280, 720), **SHORT),
    "untagged-720-portrait": Film(size=(1280, 720), turn=MATRICES["clockwise"], **SHORT),
    "untagged-720-vp9": Film("webm", "libvpx-vp9", size=(1280, 720), options=QUICK, **SHORT),
    "smpte170m-720": Film(size=(1280, 720), tags=tagged(6), **SHORT),
    "bt709-mkv": Film("mkv", tags=tagged(1, color_primaries=1, color_trc=1)),
    "bt709-hevc": Film(codec="libx265", options=QUIET, tags=tagged(1, color_primaries=1)),
    "bt709-full-prores": Film("mov", "prores_ks", "yuv422p10le", tags=tagged(1), sounds=PCM),
    "bt709-444": Film(pixels="yuv444p", tags=tagged(1, **FULL)),
    "bt709-webm": Film("webm", "libvpx-vp9", options=QUICK, sounds=OPUS, tags=tagged(1)),
    "bt709-av1": Film(codec="libsvtav1", options={"preset": "12"}, tags=tagged(1)),
    "srgb-curve": Film(tags=tagged(1, color_primaries=1, color_trc=13)),
}

SOUNDS = {
    "silent": Film(sounds=()),
    "mono": Film(sounds=(Sound(layout="mono"),)),
    "5.1": Film(sounds=(Sound(layout="5.1"),)),
    "5.1-ac3": Film("mkv", sounds=(Sound("ac3", layout="5.1"),)),
    "5.1-eac3": Film(sounds=(Sound("eac3", layout="5.1"),)),
    "5.1-pcm": Film("mov", sounds=(Sound("pcm_s16le", layout="5.1"),)),
    "7.1-pcm": Film("mov", sounds=(Sound("pcm_s24le", layout="7.1"),)),
    "7.1-flac": Film("mkv", sounds=(Sound("flac", layout="7.1"),)),
    "quad": Film("mkv", sounds=(Sound("pcm_s16le", layout="quad"),)),
    "alac": Film("mov", sounds=(Sound("alac"),)),
    "8-khz": Film(sounds=(Sound(rate=8000),)),
    "96-khz": Film(sounds=(Sound(rate=96000),)),
    "192-khz": Film("mov", sounds=(Sound("pcm_s24le", 192000),)),
    "mu-law": Film("mov", sounds=(Sound("pcm_mulaw", 8000, "mono"),)),
    "adpcm": Film("avi", sounds=(Sound("adpcm_ms", 22050, "mono"),)),
    "mp3": Film(sounds=(Sound("libmp3lame", rate=44100),)),
    "mp3-mkv": Film("mkv", sounds=(Sound("libmp3lame"),)),
    "opus-mp4": Film(sounds=OPUS),
    "sound-longer": Film(sounds=(Sound(end=3),)),
    "sound-shorter": Film(sounds=(Sound(end=0.6),)),
    "sound-late": Film(sounds=(Sound(start=0.26),)),
    "sound-late-mkv": Film("mkv", sounds=(Sound(start=0.26),)),
    "sound-with-a-hole": Film("mkv", sounds=(Sound(gap=(0.2, 0.4)),)),
    "two-tracks": Film(sounds=(Sound(), Sound(end=0.2))),
}

FILMS = CODECS | TIMES | SHAPES | TURNED | COLOURS | SOUNDS
COARSE = {"gif": 20, "pause-gif": 20}  # have 256 colours


def test_the_zoo_is_large_and_the_docs_count_it() -> None:
    assert len(FILMS) >= 120
    docs = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    for kind, films in (
        ("codecs and containers", CODECS),
        ("times and rates", TIMES),
        ("shapes", SHAPES),
        ("turned and mirrored", TURNED),
        ("matrices and ranges", COLOURS),
        ("sounds", SOUNDS),
    ):
        assert f"{kind} | {len(films)} |" in docs, kind


@pytest.mark.parametrize("name", FILMS)
def test_frames_and_sound_keep_their_time(tmp_path: Path, name: str) -> None:
    film = FILMS[name]
    path = film.write(tmp_path)
    last = film.times[-1] - film.times[-2] if len(film.times) > 1 else Fraction(1, 25)
    for fps in (None, Fraction(25, 2)):
        clip = read_clip(path, fps=fps)
        seconds = film.times[-1] - film.times[0] + last
        assert abs(clip.duration - seconds) <= 1.01 / clip.fps
        check_picture(film, clip, COARSE.get(name, 12))
        check_sound(film, clip)
