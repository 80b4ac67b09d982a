"""A form that was filled in: settings of an edit, and nothing that names a file or code."""

import pytest

from sparks.errors import SparksError
from sparks.studio.edits.form import expected_seconds, filled, read_form, unknown_words
from sparks.studio.edits.index import Entry

FORM = {"clip": "0" * 16, "prompt": " a red\nball  jumps ", "prefix_frames": "5", "model": "pocket"}
MODELS = ["pocket", "Lightricks/LTX-2.3"]


def settings(**fields: str) -> dict:
    return read_form({**FORM, **fields}, MODELS).settings


def test_fields_become_settings() -> None:
    made = settings(
        static_prompt="a red ball stays still",
        solver="cma",
        calls="12",
        time="10m",
        mode="text",
        keep="5",
        seed="7",
        sound="tuned",
        more="solver.sigma=0.5\n\nguidance.final.video.guidance_scale=2",
    )
    assert made == {
        "prompt": "a red ball jumps",
        "static_prompt": "a red ball stays still",
        "model": "pocket",
        "budget": "qwen_calls=12,wall_clock=600s",
        "seed": 7,
        "keep": "5",
        "sound": "tuned",
        "preview_every": 1,
        "solver": {"name": "cma", "sigma": 0.5},
        "space": {"mode": "text"},
        "prefix_frames": 5,
        "guidance": {"final": {"video": {"guidance_scale": 2}}},
    }
    assert settings(region="window", window_start="0.4", window_end="1.2")["window"] == (0.4, 1.2)
    assert settings()["keep"] == "all"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"solver": "cma", "calls": "7", "time": "90s", "mode": "audio", "seed": "0", "keep": "3"},
        {"region": "window", "window_start": "0.4", "window_end": "1.2", "sound": "none"},
        {"solver": "cma", "more": "solver.sigma=0.5\nclip.size=[48, 96]\nnegative_prompt='#: x'"},
    ],
)
def test_a_form_is_filled_in_with_what_an_edit_was_made_with(fields: dict[str, str]) -> None:
    made = settings(**fields)
    assert read_form(filled(made, whole=False), MODELS).settings == made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("solver", "evil.py:Solver"),
        ("solver", "os:system"),
        ("model", "/etc"),
        ("model", "../../secret"),
        ("more", "solver.name=evil.py:Solver"),
        ("more", "critic.name=os:system"),
        ("more", "critic.model=/home/me/model"),
        ("more", "critic={name: composite, critics: [{name: clip, model: x}]}"),
        ("more", "critic={name: composite, critics: [evil.py:Critic]}"),
        ("more", "judge={name: clip}"),
        ("more", "video=/etc/passwd"),
        ("more", "model=/etc"),
        ("more", "listeners=[wandb]"),
        ("more", "editor.name=evil:Editor"),
        ("more", "space.path=../x"),
        ("more", "prompt=!!python/object/apply:os.system [x]"),
        ("more", "no assignment"),
        ("prompt", " "),
        ("calls", "none"),
        ("calls", "1,wall_clock=9"),
        ("time", "forever"),
        ("seed", "-1"),
        ("seed", "nan"),
        ("keep", "some"),
        ("sound", "loud"),
        ("mode", "smell"),
        ("prefix_frames", "1.5"),
        ("start", "inf"),
    ],
)
def test_what_may_not_stand_there_is_refused(field: str, value: str) -> None:
    with pytest.raises(SparksError):
        settings(**{field: value})


def test_a_window_without_time_is_refused() -> None:
    with pytest.raises(SparksError, match="holds no time"):
        settings(region="window", window_start="1", window_end="1")


def test_words_are_held_against_those_that_are_known() -> None:
    known = ("a", "ball", "jumps")
    assert unknown_words(["a dragon jumps", None, "a dragon"], known) == ["dragon"]
    assert unknown_words(["whatever"], ()) == []


def entry(evaluations: int, seconds: float, whole: float, **more: str) -> Entry:
    made = {"path": f"{evaluations}", "kind": "edit", "title": "", "model": "pocket"} | more
    return Entry(
        **{"solver": "adam", **made}, evaluations=evaluations, seconds=seconds, whole=whole
    )


def test_time_is_told_by_earlier_edits_of_the_kind() -> None:
    made = {"model": "pocket", "budget": "qwen_calls=30"}
    past = [entry(10, 20, 25), entry(20, 40, 47), entry(30, 60, 65)]
    others = [entry(1, 9, 99, solver="cma"), entry(1, 9, 99, model="large"), entry(1, 9, 3)]
    assert expected_seconds(past + others, made, "adam", {}) == pytest.approx(5 + 60)
    assert expected_seconds(past, made, "adam", {"10": 40, "20": 60, "30": 80}) == 20 + 60
    timed = {**made, "budget": "qwen_calls=30,wall_clock=10s"}
    assert expected_seconds(past, timed, "adam", {}) == pytest.approx(15)
    assert expected_seconds(others, made, "adam", {}) is None
