"""LTX2Levers that the device decides."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sparks.editors import choosing
from sparks.editors.choosing import WORTH_COMPILING, choose, path, remembered
from sparks.editors.levers import LTX2Levers

LARGE = 2 * WORTH_COMPILING


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choosing.torch.cuda, "synchronize", lambda: None)


class Device:
    """Runs some attention quickly, and compiled blocks more so, or not at all."""

    def __init__(self, *, compiles: bool = True, replays: bool = False) -> None:
        self.compiles, self.replays, self.tried = compiles, replays, []

    def __call__(self, levers: LTX2Levers) -> Callable[[], Any]:
        self.tried.append(levers)
        if levers.compile and not self.compiles:
            raise RuntimeError("no compiler here")
        quick = 0.5 if levers.attention == "_native_cudnn" else 1.0
        seconds = 0.02 * quick * (0.5 if levers.compile else 1.0)
        if levers.cuda_graphs:
            seconds *= 0.5 if self.replays else 2
        return lambda: time.sleep(seconds)


def test_the_quickest_is_chosen_once_and_remembered() -> None:
    device = Device()
    chosen = choose(LTX2Levers(), "a card", LARGE, device)
    assert chosen == LTX2Levers(
        attention="_native_cudnn", compile=True, joined_projections=True, cuda_graphs=False
    )
    assert len(device.tried) == 4
    assert choose(LTX2Levers(), "a card", LARGE, device) == chosen
    assert len(device.tried) == 4
    choose(LTX2Levers(), "another card", LARGE, device)
    assert len(device.tried) == 8
    assert remembered().keys() == {"a card", "another card"}
    assert remembered()["a card"].seconds.keys() == {
        *("attention=native", "attention=native, compile", "attention=_native_cudnn, compile"),
        "attention=native, compile, cuda_graphs",
    }


def test_graphs_are_used_where_they_pay() -> None:
    assert choose(LTX2Levers(), "a card", LARGE, Device(replays=True)).cuda_graphs


def test_what_was_said_stays() -> None:
    said = LTX2Levers(attention="native", compile=False)
    chosen = choose(said, "a card", LARGE, Device())
    assert (chosen.attention, chosen.compile, chosen.open) == ("native", False, ())


@pytest.mark.parametrize(
    ("parameters", "device"), [(LARGE, Device(compiles=False)), (1000, Device())]
)
def test_small_models_and_machines_without_a_compiler(parameters: int, device: Device) -> None:
    chosen = choose(LTX2Levers(), "a card", parameters, device)
    assert (chosen.attention, chosen.compile) == ("_native_cudnn", False)
    assert not chosen.joined_projections


@pytest.mark.parametrize("text", ["", "[1]", '{"a card": 3}', "{"])
def test_a_broken_memory_is_measured_again(text: str) -> None:
    path().parent.mkdir(parents=True)
    path().write_text(text)
    choose(LTX2Levers(), "a card", 1000, Device())
    assert json.loads(path().read_text())["a card"]["levers"]["attention"] == "_native_cudnn"


def test_a_memory_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "sparks").write_text("a file where the folder would be")
    assert choose(LTX2Levers(), "a card", 1000, Device()).attention == "_native_cudnn"
