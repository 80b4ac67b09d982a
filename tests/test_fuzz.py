"""Whatever is typed, written or damaged: a result or a SparksError, never another exception."""

import contextlib
import json
import random
import runpy
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sparks.editors.controls import Controls, controls_metadata, load_controls, save_controls
from sparks.errors import SparksError
from sparks.runs.resolve import check_settings
from sparks.search.budget import Budget
from sparks.settings.layers import assignments, layers
from sparks.settings.schema import Config
from sparks.settings.yaml import read_settings

fuzz = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
refused_or_right = contextlib.suppress(SparksError)

# Bits of YAML that its readers have stumbled over.
PIECES = [
    *("a", "solver", "name", "lr", "1", "-1", "1e999", ".nan", "~", "true", "yes", "''", '"'),
    *(": ", ":", "- ", "\n", "  ", "[", "]", "{", "}", ",", "? ", "#", "|", ">", "&a ", "*a"),
    *("<<: ", "!!python/object/apply:os.system ", "!!binary ", "!!timestamp ", "!!float ", "!a "),
    *("2001-99-99", "0x", "0b_", "1:99:99", "---", "...", "%YAML 9.9", "\t", "\0", "é", "\ufeff"),
]
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))


@fuzz
@given(texts)
@example("a: 2001-99-99")
@example("a: !!int x")
@example("[" * 5000)
@example("a: &a [*a]")
def test_yaml_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with refused_or_right:
        read = layers([str(path)], {}, [])
        assert isinstance(Config.resolve(read), Config)


@fuzz
@given(st.binary(max_size=60))
def test_files_that_are_no_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "settings.yaml").write_bytes(content)
    with refused_or_right:
        assert isinstance(read_settings(tmp_path / "settings.yaml"), dict)


def keys(model: Any, prefix: str = "") -> list[str]:
    found = []
    for name, value in model.items():
        found.append(prefix + name)
        if isinstance(value, dict):
            found += keys(value, f"{prefix}{name}.")
    return found


KEYS = [*keys(Config().model_dump(mode="json")), "solver.lr", "solver.betas", "judge.name"]
values = st.one_of(
    texts,
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.floats() | st.integers() | st.none(), max_size=3).map(json.dumps),
    st.dictionaries(st.sampled_from(["name", "lr", "x"]), st.integers(), max_size=2).map(
        json.dumps
    ),
    st.sampled_from(["cpu", "meta", "cuda:9", "float16", "nan", "[1, 1]", "{name: adam}", "full"]),
)


@fuzz
@given(st.lists(st.tuples(st.sampled_from(KEYS) | st.text(max_size=9), values), max_size=3))
def test_set_values(pairs: list[tuple[str, str]]) -> None:
    with refused_or_right:
        asked = layers([], {}, [f"{key}={value}" for key, value in pairs])
        assert isinstance(check_settings(asked), Config)


@fuzz
@given(st.lists(st.text(max_size=20), max_size=3))
def test_assignments(pairs: list[str]) -> None:
    with refused_or_right:
        assert isinstance(assignments(pairs), dict)


limits = st.tuples(
    st.sampled_from(["qwen_calls", "renders", "wall_clock", "", "x"]),
    st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=6)),
    st.sampled_from(["", "s", "m", "h", "e9", "_0", " "]),
).map(lambda parts: f"{parts[0]}={parts[1]}{parts[2]}")


@fuzz
@given(st.lists(limits, max_size=3).map(",".join) | st.text(max_size=30))
@example("wall_clock=1000001")
def test_budgets(text: str) -> None:
    with refused_or_right:
        budget = Budget.parse(text)
        assert all(limit > 0 for limit in budget.limits().values())
        assert Budget.parse(str(budget)).limits() == pytest.approx(budget.limits(), rel=1e-12)


def latents(tmp_path: Path) -> bytes:
    path = tmp_path / "whole.safetensors"
    save_controls(path, Controls(torch.ones(1, 2, 3, 4), torch.ones(1, 5, 6)), {"prompt": "it"})
    return path.read_bytes()


@fuzz
@given(st.data())
def test_damaged_latents(tmp_path: Path, data: st.DataObject) -> None:
    whole = latents(tmp_path)
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with refused_or_right:
        controls = load_controls(path)
        assert (controls.alpha.ndim, controls.delta_v.ndim) == (4, 3)
        controls_metadata(path)


headers = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["F32", "F16", "I64", "U8"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["alpha", "delta_v", "dtype", "shape", "data_offsets", "__metadata__"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@fuzz
@given(headers, st.binary(max_size=64))
def test_forged_latents(tmp_path: Path, header: Any, body: bytes) -> None:
    text = json.dumps(header).encode()
    path = tmp_path / "forged.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    with refused_or_right:
        load_controls(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"alpha": torch.ones(1, 2, 3, 4)},
        {"alpha": torch.ones(1, 2, 3, 4), "delta_v": torch.ones(3)},
        {"alpha": torch.ones(1, 2, 3, 4), "delta_v": torch.ones(2, 5, 6)},
        {"alpha": torch.full((1, 2, 3, 4), torch.nan), "delta_v": torch.ones(1, 5, 6)},
        {"alpha": torch.ones(1, 2, 3, 4).long(), "delta_v": torch.ones(1, 5, 6)},
        {"alpha": torch.ones(1, 2, 3, 4), "delta_v": torch.ones(1, 5, 6), "more": torch.ones(1)},
    ],
)
def test_latents_of_another_form_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "odd.safetensors", {"format": "sparks.controls/1"})
    with pytest.raises(SparksError, match=r"odd\.safetensors"):
        load_controls(tmp_path / "odd.safetensors")


HOSTILE = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "hostile.py"))
PAIRS = [(key, n) for key in HOSTILE["settings"]() for n in range(len(HOSTILE["VALUES"]))]


@pytest.mark.parametrize(("key", "number"), random.Random(1).sample(PAIRS, 150))
def test_hostile_values_of_any_setting_are_refused_or_taken(key: str, number: int) -> None:
    assert HOSTILE["fault"](key, HOSTILE["VALUES"][number]) is None
