"""What cannot be read is refused in one line; what can be read, however odd, can be edited."""

import os
import shutil
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
import torch

from sparks.cli import main
from sparks.errors import SparksError
from sparks.media import picture
from sparks.media.clip import fit_clip, read_clip
from sparks.runs.prepare import prepare
from tests.editors.conftest import write_model
from tests.media.test_films import FILMS
from tests.media.test_streams import cover
from tests.media.zoo import Film, Sound, check_sound, even
from tests.workplace import REDNESS


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
    "sound-with-a-cover": (lambda folder: cover(folder, None), "no video stream"),
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
    monkeypatch.setattr(picture, "MOST_VALUES", 10 * 3 * 48 * 64)
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


@pytest.mark.parametrize(
    "name", ["variable", "phone", "gif", "5.1-ac3", "transposed-mp4", "bt709-full"]
)
def test_difficult_files_are_edited_whole(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    film = FILMS[name]
    path = film.write(tmp_path)
    assert solve(workplace, path, tmp_path / "run", monkeypatch) == 0
    edited = read_clip(tmp_path / "run" / "edited.mp4")
    assert edited.frames.shape == (9, 3, 32, 32)
    assert edited.fps == Fraction(25, 2)
    check_sound(film, edited)


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_an_edit_is_of_the_clip_in_the_fit_that_was_asked_for(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: Literal["crop", "squash"]
) -> None:
    path = Film(size=(192, 48)).write(tmp_path)
    monkeypatch.chdir(workplace)
    settings = {
        "video": str(path),
        "prompt": "red ball jumps",
        "model": "model",
        "critic": {"name": "critic.py:Redness"},
        "clip": {"fit": fit},
    }
    source = prepare(settings).source
    assert torch.equal(
        source.frames, read_clip(path, fps=Fraction(25, 2), size=(32, 32), fit=fit).frames[:9]
    )


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
