"""Surround sound is mixed to stereo by the places of its channels, in whatever order they lie.

With some orders PyAV 18 ends the process, so whoever reads them here is a child.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media.zoo import CLICK, Film, Sound, even

# Tags of Core Audio for an order, and the order.
ORDERS = {
    "5.1-a": (121 << 16 | 6, ("FL", "FR", "FC", "LFE", "BL", "BR")),
    "5.1-b": (122 << 16 | 6, ("FL", "FR", "BL", "BR", "FC", "LFE")),
    "5.1-c": (123 << 16 | 6, ("FL", "FC", "FR", "BL", "BR", "LFE")),
    "5.1-d": (124 << 16 | 6, ("FC", "FL", "FR", "BL", "BR", "LFE")),
    "7.1-a": (126 << 16 | 8, ("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC")),
    "7.1-b": (127 << 16 | 8, ("FC", "FLC", "FRC", "FL", "FR", "BL", "BR", "LFE")),
    "7.1-c": (128 << 16 | 8, ("FL", "FR", "FC", "LFE", "SL", "SR", "BL", "BR")),
    "discrete": (147 << 16 | 6, ("", "", "", "", "", "")),
}
# Of each file: its order, the one channel that clicks or none, its codec.
FILES: dict[str, tuple[str, str | None, str]] = {
    **{order: (order, None, "pcm_s16le") for order in ORDERS},
    **{f"5.1-c-{codec}": ("5.1-c", None, codec) for codec in ("pcm_s24le", "pcm_f32le")},
    **{
        f"{order}-{channel}": (order, channel, "pcm_s16le")
        for order, channel in (
            *(("5.1-b", "FL"), ("5.1-b", "BR"), ("5.1-b", "FC"), ("5.1-c", "FR")),
            *(("5.1-d", "FC"), ("5.1-d", "FL"), ("7.1-b", "BL"), ("7.1-c", "SR")),
        )
    },
}
SIDES = {"L": (True, False), "R": (False, True), "C": (True, True)}
READ = """
import json, sys
from sparks.media.clip import read_clip
from tests.media.zoo import clicks
for path in sys.argv[1:]:
    clip = read_clip(path)
    print(json.dumps([len(clip.waveform), clicks(clip), clip.waveform.abs().amax(1).tolist()]))
"""


def write(folder: Path, order: str, channel: str | None, codec: str) -> Path:
    tag, names = ORDERS[order]
    layout = "5.1" if len(names) == 6 else "7.1"
    only = None if channel is None else names.index(channel)
    film = Film("mov", times=even(20), sounds=(Sound(codec, layout=layout, channel=only),))
    folder.mkdir()
    path = film.write(folder)
    whole = bytearray(path.read_bytes())
    start = whole.index(b"chan")
    whole[start + 8 : start + 16] = tag.to_bytes(4, "big") + bytes(4)
    path.write_bytes(whole)
    return path


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list, list]]:
    """Of each file: channels, seconds of the click, loudness of each channel."""
    folder = tmp_path_factory.mktemp("surround")
    paths = [write(folder / name, *file) for name, file in FILES.items()]
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, timeout=300
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, len(lines), done.stderr[-500:])
    return dict(zip(FILES, lines, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_every_order_is_read_and_mixed_by_its_places(
    heard: dict[str, tuple[int, list, list]], name: str
) -> None:
    channels, seconds, loudness = heard[name]
    assert channels == 2
    assert seconds == pytest.approx([CLICK, CLICK + 0.02], abs=0.01)
    channel = FILES[name][1]
    left, right = SIDES["C" if channel is None else channel[-1]]
    assert (loudness[0] > 0.25) == left
    assert (loudness[1] > 0.25) == right
