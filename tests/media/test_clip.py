import ctypes
import platform
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sparks.errors import SparksError
from sparks.media.clip import (
    Clip,
    contact_sheet,
    fit_clip,
    read_clip,
    resample,
    side_by_side,
    write_clip,
)


def tone(seconds: float, rate: int, hertz: float = 440.0, channels: int = 2) -> torch.Tensor:
    time = torch.arange(round(seconds * rate)) / rate
    return (0.5 * torch.sin(2 * torch.pi * hertz * time)).repeat(channels, 1)


def clip(frames: int = 25, height: int = 64, width: int = 96, sound: bool = True) -> Clip:
    ramp = torch.linspace(0, 1, frames)[:, None, None, None]
    picture = ramp * torch.ones(frames, 3, height, width)
    fps = Fraction(25, 2)
    return Clip(picture, fps, tone(frames / float(fps), 16000) if sound else None)


@pytest.mark.parametrize("fps", [Fraction(25, 2), Fraction(24000, 1001), Fraction(25)])
def test_round_trip_keeps_frames_rate_sound_and_comment(tmp_path: Path, fps: Fraction) -> None:
    source = clip()
    source = Clip(source.frames, fps, tone(25 / float(fps), 16000))
    write_clip(tmp_path / "a.mp4", source, comment='{"seed": 1}')
    back = read_clip(tmp_path / "a.mp4")
    assert back.fps == fps
    assert back.frames.shape == source.frames.shape
    assert (back.frames - source.frames).abs().mean() < 0.01
    assert back.waveform is not None
    assert source.waveform is not None
    assert back.sample_rate == 16000
    assert back.waveform.shape == source.waveform.shape
    middle = slice(4000, -4000)
    error = (back.waveform - source.waveform)[:, middle].abs().max()
    assert error < 0.05  # lossy, but in phase
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.metadata["comment"] == '{"seed": 1}'
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_silent_clips_have_no_track(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", clip(sound=False))
    assert read_clip(tmp_path / "a.mp4").waveform is None


def test_odd_sizes_and_odd_rates_are_written(tmp_path: Path) -> None:
    write_clip(
        tmp_path / "a.mp4", Clip(torch.rand(9, 3, 33, 47), Fraction(25), tone(1, 7000), 7000)
    )
    back = read_clip(tmp_path / "a.mp4")
    assert back.frames.shape[-2:] == (32, 46)
    assert back.sample_rate == 48000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the allocator of glibc")
@pytest.mark.parametrize("seed", [2, 5])
def test_a_file_depends_on_its_clip_alone(tmp_path: Path, seed: int) -> None:
    noise = torch.rand(9, 3, 35, 35, generator=torch.Generator().manual_seed(seed))
    source = Clip(noise, Fraction(25), tone(9 / 25, 16000))
    allocator, perturb = ctypes.CDLL(None), -6  # M_PERTURB: what fresh memory is filled with
    files = set()
    try:
        for filling in (1, 85, 128, 170, 255):
            allocator.mallopt(perturb, filling)
            write_clip(tmp_path / "a.mp4", source)
            files.add((tmp_path / "a.mp4").read_bytes())
    finally:
        allocator.mallopt(perturb, 0)
    assert len(files) == 1


def test_max_frames_cuts_picture_and_sound(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", clip())
    short = read_clip(tmp_path / "a.mp4", max_frames=10)
    assert len(short.frames) == 10
    assert short.waveform is not None
    assert short.waveform.shape[1] == round(10 / 12.5 * 16000)


@pytest.mark.parametrize(
    ("fps", "shown"),
    [
        (Fraction(25, 2), list(range(25))),
        (Fraction(25, 4), list(range(0, 24, 2))),
        (Fraction(25), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (Fraction(10), [0, 1, 2, 4, 5, 6, 7, 9, 10, 11]),
    ],
)
def test_another_rate_takes_the_nearest_frames(
    tmp_path: Path, fps: Fraction, shown: list[int]
) -> None:
    write_clip(tmp_path / "a.mp4", clip())
    source = read_clip(tmp_path / "a.mp4")
    read = read_clip(tmp_path / "a.mp4", fps=fps)
    assert torch.equal(read.frames[: len(shown)], source.frames[shown])
    assert read.fps == fps
    assert abs(read.duration - source.duration) < 1 / fps
    assert read.waveform is not None
    assert read.waveform.shape[1] == round(read.duration * read.sample_rate)


def test_frames_are_shaped_as_they_are_read(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", clip())
    whole = fit_clip(read_clip(tmp_path / "a.mp4"), multiple=8, temporal=4, size=(32, 40))
    assert torch.equal(read_clip(tmp_path / "a.mp4", size=(32, 40)).frames, whole.frames)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SparksError, match=r"no video file at .*gone\.mp4"):
        read_clip(tmp_path / "gone.mp4")
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(SparksError, match=r"cannot decode .*noise\.mp4"):
        read_clip(tmp_path / "noise.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SparksError, match=r"empty\.mp4"):
        read_clip(tmp_path / "empty.mp4")
    write_clip(tmp_path / "whole.mp4", clip())
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 8])
    with pytest.raises(SparksError, match=r"half\.mp4"):
        read_clip(tmp_path / "half.mp4")
    with av.open(str(tmp_path / "sound.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        container.mux(stream.encode(None))
    with pytest.raises(SparksError, match=r"sound\.m4a"):
        read_clip(tmp_path / "sound.m4a")


def test_sound_without_picture_is_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", clip())
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "s.mp4"), "w") as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with pytest.raises(SparksError, match="no video stream"):
        read_clip(tmp_path / "s.mp4")


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SparksError, match="cannot write"):
        write_clip(tmp_path / "file" / "a.mp4", clip())


def test_fit_crops_to_multiples_and_cuts_to_the_latent_grid() -> None:
    fitted = fit_clip(clip(frames=27, height=70, width=101), multiple=16, temporal=4)
    assert fitted.frames.shape == (25, 3, 64, 96)
    assert fitted.waveform is not None
    assert fitted.waveform.shape[1] == round(25 / 12.5 * 16000)


def test_fit_fills_and_crops_the_centre() -> None:
    wide = clip(height=64, width=128)
    wide.frames[..., 32:96] = 1.0
    fitted = fit_clip(wide, multiple=16, temporal=4, size=(32, 32), num_frames=12)
    assert fitted.frames.shape == (9, 3, 32, 32)
    assert fitted.frames[..., 1:-1].min() > 0.99


def bars(height: int, width: int) -> torch.Tensor:
    """Frames of which the left quarter is red and the right quarter blue."""
    frames = torch.zeros(9, 3, height, width)
    frames[:, 0, :, : width // 4] = 1
    frames[:, 2, :, width * 3 // 4 :] = 1
    return frames


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (32, 96), (96, 128)])
def test_squashing_keeps_the_whole_picture(size: tuple[int, int]) -> None:
    wide = Clip(bars(48, 160), Fraction(25))
    squashed = fit_clip(wide, multiple=16, temporal=4, size=size, fit="squash").frames
    assert squashed.shape == (9, 3, *size)
    quarter = size[1] // 4
    assert (squashed[:, 0, :, : quarter - 1] > 0.99).all()
    assert (squashed[:, 2, :, -quarter + 1 :] > 0.99).all()
    assert squashed[:, :, :, quarter + 1 : -quarter - 1].max() < 0.01
    cropped = fit_clip(wide, multiple=16, temporal=4, size=(32, 32)).frames
    assert cropped[:, [0, 2]].max() < 0.01


def test_squashing_without_a_size_goes_to_the_multiples_below() -> None:
    squashed = fit_clip(
        Clip(bars(50, 100), Fraction(25)), multiple=16, temporal=4, fit="squash"
    ).frames
    assert squashed.shape[-2:] == (48, 96)
    assert squashed[..., 0, :][:, 0, 0].min() > 0.99
    assert squashed[..., 0, :][:, 2, -1].min() > 0.99


@pytest.mark.parametrize("size", [(320, 512), (96, 64), (720, 960)])
def test_squashing_is_what_libswscale_does(size: tuple[int, int]) -> None:
    """The authors' code has PyAV reformat each frame, by its default, bilinear."""
    noise = torch.rand(1, 1, 45, 80, generator=torch.Generator().manual_seed(3))
    picture = torch.nn.functional.interpolate(noise, scale_factor=8, mode="bilinear")
    pixels = (picture[0, 0, ..., None].expand(-1, -1, 3) * 255).round().byte().numpy()
    theirs = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    theirs = torch.from_numpy(theirs.to_ndarray(format="rgb24", width=size[1], height=size[0]))
    clip = Clip(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, Fraction(25))
    ours = fit_clip(
        replace(clip, frames=clip.frames.repeat(2, 1, 1, 1)),
        multiple=1,
        temporal=1,
        size=size,
        fit="squash",
    )
    stray = (ours.frames[0].permute(1, 2, 0) * 255 - theirs).abs()
    assert stray.mean() < 1
    assert stray.max() < 8


def test_a_file_is_squashed_as_it_is_read(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", Clip(bars(48, 160), Fraction(25)))
    whole = fit_clip(
        read_clip(tmp_path / "a.mp4"), multiple=8, temporal=4, size=(32, 40), fit="squash"
    )
    read = read_clip(tmp_path / "a.mp4", size=(32, 40), fit="squash")
    assert torch.equal(read.frames, whole.frames)


@pytest.mark.parametrize(
    ("source", "size", "message"),
    [
        (clip(frames=4), None, "at least 5"),
        (clip(height=8), None, "96x8"),
        (clip(), (60, 64), "multiples of 16"),
    ],
)
def test_fit_refuses(source: Clip, size: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        fit_clip(source, multiple=16, temporal=4, size=size)


def test_resampling_keeps_pitch_and_length() -> None:
    sound = resample(tone(1, 48000), 48000, 16000)
    assert sound.shape == (2, 16000)
    assert (sound - tone(1, 16000))[:, 500:-500].abs().max() < 0.01


def test_side_by_side_enlarges_small_clips_and_keeps_the_last_sound() -> None:
    left, right = clip(sound=False), clip(frames=20)
    both = side_by_side([left, right])
    assert both.frames.shape == (20, 3, 256, 768)
    assert both.waveform is not None
    assert both.duration == pytest.approx(20 / 12.5)


def test_contact_sheet_shows_each_clip_in_a_row_from_its_first_frame_to_its_last(
    tmp_path: Path,
) -> None:
    dark_to_bright, small = clip().frames, clip(frames=9, height=32, width=32).frames
    contact_sheet(
        tmp_path / "sheet.png", {"source": dark_to_bright, "edited": 1 - small}, columns=5
    )
    with Image.open(tmp_path / "sheet.png") as picture:
        width, height = picture.size
        row = (0.03 + 0.968 * torch.linspace(0.1, 0.9, 5)) * width  # the middles of the frames
        levels = [
            [picture.convert("L").getpixel((int(x), int(height * y))) for x in row]
            for y in (0.35, 0.8)
        ]
    assert levels[0] == pytest.approx([0, 64, 128, 191, 255], abs=3)
    assert levels[1] == pytest.approx([255, 191, 128, 64, 0], abs=3)
