"""From a comparison to a study, and from answers to `sparks stats`; the commands."""

import csv
import json
from pathlib import Path

import av
import pytest

from sparks.errors import SparksError
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.choices import Choice
from sparks.studio.survey.export import export
from sparks.studio.survey.making import make
from sparks.studio.survey.orders import Page, draw
from sparks.studio.survey.quality import quality
from sparks.studio.survey.study import read_study, video_path
from tests.studio.survey.conftest import METHODS, PROMPTS
from tests.workplace import run_sparks

RANKS = ("ours", "LoRA-Edit", "VACE (14B)", "prompt only")  # what everybody here likes


def liked(page: Page) -> Choice:
    """What one who reads and likes RANKS says of a page."""
    if page.told:
        return Choice(page.told)
    where = {method: index for index, method in enumerate(page.candidates)}
    return Choice(tuple(where[method] for method in RANKS[:3]), (where["ours"],))


def take_part(folder: Path, ballots: Ballots, code: str, careless: bool = False) -> None:
    study = read_study(folder)
    number = ballots.join(code, lambda who: draw(study, who))
    for index, page in enumerate(ballots.pages(number)):
        ballots.show(number, index)
        ballots.answer(number, index, Choice((0, 1, 2)) if careless else liked(page))


def test_nothing_in_a_study_tells_a_participant_whose_a_video_is(study: Path) -> None:
    given = read_study(study)
    assert [each.name for each in given.scenarios] == list(PROMPTS)
    assert set(given.scenarios[0].edits) == set(METHODS)
    files = {path.stem for path in (study / "videos").iterdir()}
    assert files == given.videos
    for name in files:
        with av.open(str(video_path(study, name))) as container:
            assert "comment" not in container.metadata
            assert (container.streams.video[0].codec_context.name) == "h264"


def test_answers_become_what_stats_reads(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Ballots(study) as ballots:
        codes = [link.code for link in ballots.links()]
        for code in codes:
            take_part(study, ballots, code, careless=code == codes[-1])
        told = quality(read_study(study), ballots)
        assert (told.finished, told.hasty, told.inattentive) == (3, 3, 1)
        assert sum(told.first.values()) == 6
    with pytest.raises(SparksError, match="goes on; end it first with sparks survey close"):
        export(study)
    for words in (("close",), ("export", "--attentive")):
        code, out, err = run_sparks(monkeypatch, capsys, "survey", *words, str(study))
        assert code == 0, err
    assert "4 answers of 2 participants; 1 inattentive left out" in out
    with (study / "votes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 4
    assert {(row["method"], row["place"], row["achieved"]) for row in rows} == {
        ("ours", "1", "1"), ("LoRA-Edit", "2", "0"), ("VACE (14B)", "3", "0"),
        ("prompt only", "", "0"),
    }  # fmt: skip
    assert {row["participant"] for row in rows} == {"P001", "P002"}
    assert {row["position"] for row in rows if row["method"] == "ours"} != {"1"}
    code, out, _ = run_sparks(monkeypatch, capsys, "stats", str(study / "votes.csv"))
    assert code == 0
    assert "| ours | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | 3.00 [3.00, 3.00]" in out
    with (study / "participants.csv").open(newline="") as file:
        people = list(csv.DictReader(file))
    assert [row["attentive"] for row in people] == ["1", "1", "0"]
    assert all(row["answered"] == row["of"] == "2" for row in people)


def test_what_a_study_cannot_be_made_of(comparison: Path, tmp_path: Path) -> None:
    for more, why in (
        ({"methods": ["ours", "theirs"]}, "no method 'theirs' in the comparison"),
        ({"methods": ["ours"]}, "no scenario has two candidates"),
        ({"per_participant": 3}, "3 scenarios for each; the comparison has 2"),
        ({"limit": 3}, "one of them"),
    ):
        with pytest.raises(SparksError, match=why):
            make(comparison, tmp_path / "study", invitations=2, **more)  # type: ignore[arg-type]
        assert not (tmp_path / "study").exists()
    with pytest.raises(SparksError, match="make one with sparks compare"):
        make(tmp_path, tmp_path / "study", invitations=2)
    with pytest.raises(SparksError, match="is not empty"):
        make(comparison, comparison, invitations=2)


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"title": 3}', '{"scenarios": [{"source": "../x"}]}']
)
def test_a_study_that_cannot_be_read(damage: str, study: Path) -> None:
    (study / "study.json").write_text(damage)
    with pytest.raises(SparksError, match=r"study\.json cannot be read"):
        read_study(study)


def test_a_video_of_a_study_has_no_path(study: Path) -> None:
    text = (study / "study.json").read_text()
    [one, *_] = sorted(read_study(study).videos)
    (study / "study.json").write_text(text.replace(one, "../../secret"))
    with pytest.raises(SparksError, match=r"study\.json cannot be read"):
        read_study(study)


def test_the_commands(
    comparison: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def survey(*words: str) -> tuple[int, str, str]:
        return run_sparks(monkeypatch, capsys, "survey", *words)

    study = str(tmp_path / "study")
    (tmp_path / "consent.txt").write_text("You agree.\n")
    options = ("--methods", "ours, prompt only", "--open", "9", "--scenarios", "1")
    consent = ("--consent", str(tmp_path / "consent.txt"), "--no-attention", "--hasty", "3")
    code, out, err = survey("make", str(comparison), "--output", study, *options, *consent)
    assert (code, "2 scenarios, 1 for each participant, of 2 methods" in out) == (0, True), err
    made = read_study(Path(study))
    assert (made.consent, made.attention, made.candidates, made.hasty) == (
        "You agree.",
        False,
        2,
        3,
    )
    code, out, _ = survey("links", study, "--more", "2", "--url", "https://study.example/")
    lines = out.splitlines()
    assert (code, lines[0], len(lines)) == (0, "link,for,joined", 4)
    assert lines[1].startswith("https://study.example/join/")
    code, out, _ = survey("status", study, "--json")
    assert (code, json.loads(out)["people"], json.loads(out)["ended"]) == (0, [], False)
    code, _, err = survey("export", study)
    assert (code, "sparks survey close" in err) == (2, True)
    assert survey("close", study)[0] == 0
    code, _, err = survey("export", study)
    assert (code, "has no answers" in err) == (2, True)
    code, _, err = survey("serve", study, "--url", "study.example")
    assert (code, "write it as https://study.example.org" in err) == (2, True)
    code, _, err = survey("status", str(tmp_path))
    assert (code, "no study at" in err, (tmp_path / "votes.sqlite").exists()) == (2, True, False)
