"""The judge: rubrics, answers that are checked, orders, names, replay, and every backend."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sparks.errors import SparksError
from sparks.evaluation.comparison.aggregates import capped, geometric, preserved_if_achieved
from sparks.evaluation.judge.answers import answer_type, parse
from sparks.evaluation.judge.backends import Local, Recorded, Server, backend
from sparks.evaluation.judge.calls import ask
from sparks.evaluation.judge.judging import Judged, Judging, as_table, judge, remarks, requests
from sparks.evaluation.judge.request import Request, read_template
from sparks.evaluation.judge.rubric import EDIT, MODALITY, Rubric, rubric
from sparks.evaluation.judge.truth import Truth, truth
from sparks.evaluation.scenarios import Comparison, Scenario, read_comparison
from sparks.evaluation.statistics.reading import read_table
from sparks.media.clip import Clip, write_clip
from sparks.models.weights import weights_path
from sparks.pocket import world
from tests.workplace import Sparks

METHODS = ("ours", "plain", "theirs")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two scenarios of the world: ours does what is asked, the others do not."""
    folder = tmp_path_factory.mktemp("videos")
    scenes = world.draw(2, 11, ("jump", "grow"))
    source = world.render(scenes.acting("stay"))
    made = {
        "ours": world.render(scenes),
        "plain": source,
        "theirs": world.render(scenes.acting("spin")),
    }
    found = []
    for index in range(2):
        paths = {}
        for name, frames in {"source": source, **made}.items():
            paths[name] = folder / f"{index}-{name}.mp4"
            write_clip(paths[name], Clip(frames[index], world.FPS))
        prompts = scenes.prompts()[index], scenes.acting("stay").prompts()[index]
        edits = {name: paths[name] for name in METHODS}
        found.append(Scenario(f"s{index}", prompts[0], paths["source"], edits, prompts[1]))
    return Comparison("test", {"ours": "ours", "plain": "baseline", "theirs": "other"}, found)


def how(given: Rubric = EDIT, **more: Any) -> Judging:
    return Judging(given, read_template(None), **more)


class Scripted:
    """Says what it is told to; keeps what it was asked."""

    def __init__(self, *texts: str, name: str = "scripted") -> None:
        self.texts, self.name = list(texts), name
        self.asked: list[tuple[Request, list[tuple[str, str]]]] = []

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        self.asked.append((request, list(earlier)))
        return self.texts.pop(0) if self.texts else Truth().answer(request, earlier)


class First:
    """Prefers whatever it is shown first."""

    name = "first"

    def answer(self, request: Request, earlier: list[tuple[str, str]]) -> str:
        names = list(request.methods)
        points = {name: 8.0 - index for index, name in enumerate(names)}
        verdicts = [
            {
                "alias": name,
                "scores": dict.fromkeys(request.rubric.axes, points[name]),
                "overall": points[name] + (2 if request.methods[name] == "plain" else 0),
                "task_achieved": name == names[0],
            }
            for name in names
        ]
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        preferences = [{"first": a, "second": b, "preferred": a} for a, b in pairs]
        return json.dumps({"candidates": verdicts, "ranking": names, "preferences": preferences})


# --- rubrics and answers


def test_the_rubrics_are_the_papers() -> None:
    assert [axis.weight for axis in EDIT.axes.values()] == [0.35, 0.25, 0.20, 0.20]
    assert [a.weight for a in MODALITY.axes.values()] == [0.25, 0.25, 0.20, 0.15, 0.10, 0.05]
    ours = dict(zip(EDIT.axes, (7.42, 6.48, 7.49, 7.23), strict=True))
    assert EDIT.overall(ours) == pytest.approx(7.16, abs=0.005)  # Table S1
    with pytest.raises(SparksError, match="no rubric 'x'; choose from edit, modality"):
        rubric("x")


def good(aliases: str = "AB") -> dict[str, Any]:
    scores = dict.fromkeys(EDIT.axes, 5)
    verdicts = [
        {"alias": a, "scores": scores, "overall": 5, "task_achieved": True} for a in aliases
    ]
    preferences = [{"first": aliases[0], "second": aliases[1], "preferred": "tie"}]
    return {"candidates": verdicts, "ranking": list(aliases), "preferences": preferences}


def test_an_answer_may_stand_in_a_fence_and_among_words() -> None:
    text = f"Here it is:\n```json\n{json.dumps(good())}\n```\nGladly."
    assert parse(text, answer_type(EDIT, "AB")).ranking == ["A", "B"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["candidates"].pop(), "candidates must be A, B, each once"),
        (lambda a: a["ranking"].append("A"), "ranking must have A, B"),
        (lambda a: a["preferences"].clear(), "every pair of candidates once"),
        (lambda a: a["candidates"][0]["scores"].update(edit_alignment=11), "less than or equal"),
        (lambda a: a["candidates"][0]["scores"].pop("visual_quality"), "Field required"),
        (lambda a: a["candidates"][0].update(alias="C"), "'A' or 'B'"),
        (lambda a: a["preferences"][0].update(preferred="C"), "Input should be"),
        (lambda a: a.update(more=1), "not permitted"),
    ],
)
def test_an_answer_of_another_form_is_refused(change: Any, message: str) -> None:
    answer = good()
    change(answer)
    with pytest.raises(ValueError, match=message):
        parse(json.dumps(answer), answer_type(EDIT, "AB"))
    with pytest.raises(ValueError, match="no JSON object"):
        parse("I would rather not.", answer_type(EDIT, "AB"))


# --- asking


def test_names_are_shuffled_and_both_orders_are_shown(comparison: Comparison) -> None:
    asked = list(requests(comparison.scenarios[0], how(repeats=3), "x"))
    shown = [tuple(request.methods.values()) for request in asked]
    assert len(shown) == 6
    assert all(shown[i] == shown[i + 1][::-1] for i in (0, 2, 4))
    firsts = [order[0] for order in shown[::2]]
    assert sorted(firsts) == sorted(METHODS)  # turned on by one place
    names = {tuple(request.methods) for request in asked}
    assert len(names) > 1
    assert {alias for order in names for alias in order} == {"A", "B", "C"}
    again = [r.key for r in requests(comparison.scenarios[0], how(repeats=3), "x")]
    assert again == [request.key for request in asked]
    assert len(set(again)) == 6
    balanced = list(requests(comparison.scenarios[0], how(repeats=3, orders="balanced"), "x"))
    assert sorted(next(iter(r.methods.values())) for r in balanced) == sorted(METHODS)


def test_the_instructions_say_everything(comparison: Comparison) -> None:
    (first, *_) = requests(comparison.scenarios[0], how(), "x")
    for said in (comparison.scenarios[0].prompt, *EDIT.axes):
        assert said in first.text
    assert "0.35 edit_alignment + 0.25 motion_quality" in first.text
    assert '"task_achieved"' in first.text
    assert not any(method in first.text for method in METHODS)
    assert "{" + "prompt" + "}" not in first.text


def test_a_malformed_answer_is_asked_for_again_and_all_is_kept(
    comparison: Comparison, tmp_path: Path
) -> None:
    (request, *_) = requests(comparison.scenarios[0], how(), "scripted")
    who = Scripted("no", '{"candidates": []}')
    answer = ask(request, who, tmp_path)
    assert answer is not None
    assert [len(earlier) for _, earlier in who.asked] == [0, 1, 2]
    assert "no JSON object" in who.asked[1][1][0][1]
    kept = json.loads((tmp_path / f"{request.key}.json").read_text())
    assert [bool(each["wrong"]) for each in kept["said"]] == [True, True, False]
    assert kept["asked"]["text"] == request.text
    silent = Scripted(name="nobody")
    assert ask(request, silent, tmp_path) == answer
    assert silent.asked == []


def test_who_never_answers_is_told_and_not_asked_again(
    comparison: Comparison, tmp_path: Path
) -> None:
    (request, *_) = requests(comparison.scenarios[0], how(), "scripted")
    who = Scripted("no", "no", "no", "no")
    assert ask(request, who, tmp_path) is None
    assert ask(request, who, tmp_path) is None
    assert len(who.asked) == 3


def test_other_videos_or_words_are_another_question(comparison: Comparison) -> None:
    scenario = comparison.scenarios[0]
    (plain, *_) = requests(scenario, how(), "x")
    other = Judging(EDIT, "Say {prompt} {schema}")
    assert next(requests(scenario, other, "x")).key != plain.key
    assert next(requests(scenario, how(), "y")).key != plain.key
    assert next(requests(scenario, how(num_frames=4), "x")).key != plain.key


# --- judging


def test_the_measurement_as_judge_knows_what_happened(
    comparison: Comparison, tmp_path: Path
) -> None:
    result = judge(comparison, how(), Truth(), tmp_path)
    achieved = {(each.scenario, each.method): each.achieved for each in result.judged}
    assert achieved == {(s, m): float(m == "ours") for s in ("s0", "s1") for m in METHODS}
    assert all(each.rank == 1 for each in result.judged if each.method == "ours")
    assert remarks(result) == []
    assert all(
        p["preferred"] == "ours" for p in result.preferences if "ours" in (p["first"], p["second"])
    )
    rows = read_table(str(tmp_path / "judge.csv"))
    assert [row["method"] for row in rows] == [*METHODS, *METHODS]
    assert truth(comparison.scenarios[0], "plain")["outside"] < 0.01
    assert "| ours | 100.0 |" in as_table(result, METHODS, list(EDIT.axes))


def test_who_prefers_what_stands_first_ties_and_is_flagged(
    comparison: Comparison, tmp_path: Path
) -> None:
    result = judge(comparison, how(), First(), tmp_path)
    assert {p["preferred"] for p in result.preferences} == {"tie"}
    assert {each.rank for each in result.judged} == {2}
    spread = {name for each in result.judged for name, s in each.spread.items() if s > 0}
    assert spread == set(EDIT.axes)
    flagged = {each.method for each in result.judged if each.flags}
    assert flagged == {"plain"}  # whose overall is two points more than its parts say
    plain = next(each for each in result.judged if each.method == "plain")
    assert plain.said == pytest.approx(plain.overall + 2)
    assert any("by its parts" in line for line in remarks(result))


def test_answers_are_replayed_without_the_judge(comparison: Comparison, tmp_path: Path) -> None:
    who = Scripted("no")
    first = judge(comparison, how(), who, tmp_path / "a")
    replay = Recorded(tmp_path / "a" / "judge" / "calls")
    assert judge(comparison, how(), replay, tmp_path / "b") == first
    with pytest.raises(SparksError, match="no recorded answer to question"):
        judge(comparison, how(repeats=2), replay, tmp_path / "c")


def test_recorded_answers_in_one_file(comparison: Comparison, tmp_path: Path) -> None:
    answers = {
        request.key: ["not yet", Truth().answer(request, [])]
        for scenario in comparison.scenarios
        for request in requests(scenario, how(), "recorded")
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    result = judge(comparison, how(), backend("recorded", str(tmp_path / "answers.json")), tmp_path)
    assert {e.achieved for e in result.judged if e.method == "ours"} == {1.0}
    with pytest.raises(SparksError, match="no recorded answers at"):
        backend("recorded", str(tmp_path / "gone.json"))


@pytest.mark.parametrize(
    "text",
    ["[", "[" * 100_000, "[]", "3", '{"key": 3}', '{"key": "x", "said": [{"answer": 3}]}', "\x00"],
)
def test_what_is_no_recorded_answer_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "one.json").write_text(text)
    for place in (tmp_path / "calls", tmp_path / "calls" / "one.json"):
        with pytest.raises(SparksError, match="no recorded answers at") as refused:
            Recorded(place)
        assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "said", [3, [3], [{}], [{"answer": 3, "wrong": ""}], [{"answer": "not yet", "wrong": ""}]]
)
def test_a_kept_answer_that_is_none_is_told(
    said: object, comparison: Comparison, tmp_path: Path
) -> None:
    (request, *_) = requests(comparison.scenarios[0], how(), "scripted")
    (tmp_path / f"{request.key}.json").write_text(json.dumps({"said": said}))
    with pytest.raises(SparksError, match=r"is no kept answer \(.*remove it to ask again"):
        ask(request, Scripted("no"), tmp_path)


def test_the_six_axes(comparison: Comparison, tmp_path: Path) -> None:
    result = judge(comparison, how(MODALITY), Truth(), tmp_path)
    assert all(set(each.scores) == set(MODALITY.axes) for each in result.judged)


# --- servers and models


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that speaks OpenAI's protocol, for real, and what it was sent."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append(body)
            schema = body["response_format"]["json_schema"]["schema"]
            names = schema["properties"]["ranking"]["items"]["enum"]
            text = json.dumps(_any_answer(names)) if len(received) > 1 else "Let me think."
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
            content = json.dumps({**answer, "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1", received
    running.shutdown()


def _any_answer(names: list[str]) -> dict[str, Any]:
    answer = good("AB")
    answer["candidates"] = [{**answer["candidates"][0], "alias": name} for name in names]
    answer["ranking"] = names
    answer["preferences"] = [
        {"first": a, "second": b, "preferred": "tie"}
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    ]
    return answer


def test_a_server_is_shown_frames_and_asked_again(
    comparison: Comparison, tmp_path: Path, server: tuple[str, list[dict[str, Any]]]
) -> None:
    pytest.importorskip("openai")
    url, received = server
    (request, *_) = requests(comparison.scenarios[0], how(num_frames=3), "tiny")
    assert ask(request, Server("tiny", url), tmp_path) is not None
    first, second = received
    content = first["messages"][0]["content"]
    images = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    assert len(images) == 4 * 3
    kind, data = images[0].split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (96, 96)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert "no JSON object" in second["messages"][2]["content"]


def test_a_server_that_is_not_there_is_named(comparison: Comparison, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    (request, *_) = requests(comparison.scenarios[0], how(), "tiny")
    who = Server("tiny", "http://127.0.0.1:9/v1")
    who._client = who._client.with_options(max_retries=0)
    with pytest.raises(SparksError, match="the judge 'tiny' cannot be asked"):
        ask(request, who, tmp_path)


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("oracle", None, "no judge 'oracle'; choose openai, local, recorded, pocket"),
        ("openai", None, "judge 'openai' needs --model, a model's name"),
        ("local", "nobody/nothing", "no judge model at 'nobody/nothing'"),
    ],
)
def test_a_judge_that_is_not_there(name: str, model: str | None, message: str) -> None:
    with pytest.raises(SparksError, match=message):
        backend(name, model)


# --- the command and the aggregates


def test_the_command(sparks: Sparks, comparison: Comparison, tmp_path: Path) -> None:
    comparison.save(tmp_path)
    assert read_comparison(tmp_path) == comparison
    code, out, err = sparks("judge", ".", "--backend", "pocket", "--orders", "balanced")
    assert code == 0, err
    assert "| ours | 100.0 |" in out
    code, out, err = sparks("stats", "judge.csv", "--column", "overall", "--json")
    assert json.loads(out)[0]["rows"][0]["method"] == "ours"
    (tmp_path / "mine.md").write_text("Just say it.")
    for arguments, said in [
        (("gone",), "no comparison at gone"),
        ((".", "--orders", "random"), "say both or balanced"),
        ((".", "--instructions", "mine.md"), "mine.md lacks {prompt}"),
        ((".", "--rubric", "beauty"), "no rubric 'beauty'"),
    ]:
        code, out, err = sparks("judge", *arguments)
        assert (code, out) == (2, "")
        assert said in err


def test_an_edit_that_does_nothing_is_not_paid_for_preserving() -> None:
    nothing = dict(zip(EDIT.axes, (0.0, 0.0, 10.0, 10.0), strict=True))
    done = dict(zip(EDIT.axes, (8.0, 8.0, 6.0, 6.0), strict=True))
    assert EDIT.overall(nothing) == pytest.approx(4)
    assert capped(nothing, EDIT) == 0
    assert capped(done, EDIT) == pytest.approx(EDIT.overall(done))
    assert geometric(nothing, EDIT) < 0.6 < 7 < geometric(done, EDIT)
    assert geometric(dict.fromkeys(EDIT.axes, 5.0), EDIT) == pytest.approx(5)

    def judged(scores: dict[str, float], achieved: float) -> Judged:
        return Judged("s", "m", scores, {}, 0, 0, achieved, 1, 1)

    assert preserved_if_achieved([judged(nothing, 0), judged(done, 1)], EDIT) == (6, 1)
    assert preserved_if_achieved([judged(nothing, 0)], EDIT) is None


def test_a_local_model_answers(comparison: Comparison, tmp_path: Path) -> None:
    """Of the real class, small: what it says is of no form, which is told and kept."""
    who = Local(str(weights_path() / "judge"), most_tokens=6)
    (request, *_) = requests(comparison.scenarios[0], how(num_frames=2), who.name)
    first = who.answer(request, [])
    assert who.answer(request, []) == first
    assert isinstance(who.answer(request, [(first, "no JSON")]), str)
    assert ask(request, who, tmp_path) is None
    kept = json.loads((tmp_path / f"{request.key}.json").read_text())
    assert kept["said"][0]["answer"] == first
    assert "no JSON object" in kept["said"][0]["wrong"]
