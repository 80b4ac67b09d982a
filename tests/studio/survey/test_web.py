"""The pages by their addresses: what participants may do, and what nobody may."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from sparks.studio.door import Door
from sparks.studio.survey.app import RESEARCHER, survey_app
from sparks.studio.survey.ballots import Ballots
from sparks.studio.survey.making import make
from sparks.studio.survey.orders import SOURCE
from sparks.studio.survey.site import Site
from sparks.studio.survey.study import read_study
from sparks.studio.survey.taking_part import PUBLIC
from tests.studio.survey.conftest import METHODS

HOME = "http://127.0.0.1:8050"
ANSWER = {"first": "B", "second": "A", "third": "D", "achieved": "B"}
VISIT = {"sec-fetch-mode": "navigate"}


class Served:
    """A study's server, and browsers for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ballots = folder, Ballots(folder)
        self.token = self.ballots.token(RESEARCHER)
        door = Door(port=8050, token=self.token, public=PUBLIC)
        self.app = survey_app(Site(folder, read_study(folder), self.ballots, door, HOME))
        self.codes = [link.code for link in self.ballots.links()]

    def browser(self, **headers: str | bytes) -> TestClient:
        return TestClient(self.app, HOME, headers={"origin": HOME} | headers)  # type: ignore[operator]

    def participant(self, code: int = 0) -> TestClient:
        """One who has agreed and sees the first page."""
        browser = self.browser()
        answer = browser.post(f"/join/{self.codes[code]}")
        assert answer.url.path == "/page/1"
        return browser

    def researcher(self) -> TestClient:
        browser = self.browser()
        assert browser.get("/", params={"token": self.token}).status_code == 200
        return browser


@pytest.fixture
def served(study: Path) -> Iterator[Served]:
    one = Served(study)
    yield one
    one.ballots.__exit__(None, None, None)


def test_consent_comes_first_and_stores_nothing(served: Served) -> None:
    browser = served.browser()
    text = browser.get(f"/join/{served.codes[0]}").text
    assert "Taking part is voluntary" in text
    assert not browser.cookies
    assert served.ballots.participants() == []


def test_from_consent_to_thanks(served: Served) -> None:
    browser = served.participant()
    for number in (1, 2):
        answer = browser.post(f"/page/{number}", data=ANSWER)
        assert answer.url.path == f"/page/{number + 1}"
    assert browser.post("/page/3", data=ANSWER).url.path == "/done"
    assert "Everything is stored" in browser.get("/done").text
    assert len(served.ballots.answers()) == 3
    assert browser.get("/page/2").url.path == "/done"  # what was sent is not shown again


def test_a_page_can_be_left_and_come_back_to_until_it_is_sent(served: Served) -> None:
    browser = served.participant()
    assert browser.post("/page/1/choice", data={"first": "C"}).status_code == 204
    assert browser.get("/page/2").url.path == "/page/2"
    assert 'value="C" required checked' in browser.get("/page/1").text
    assert browser.post("/page/2", data=ANSWER).url.path == "/page/3"
    assert browser.post("/page/3", data=ANSWER).url.path == "/page/1"  # what is left
    assert browser.get("/done").url.path == "/page/1"
    again = served.browser()  # the same link on another machine
    assert "begun already" in again.get(f"/join/{served.codes[0]}").text
    again.post(f"/join/{served.codes[0]}")
    assert 'value="C" required checked' in again.get("/next").text
    assert len(served.ballots.participants()) == 1


def test_of_choices_that_overtake_each_other_the_last_made_counts(served: Served) -> None:
    browser = served.participant()
    for letter, made in (("A", 10.5), ("B", 12.25), ("C", 11)):  # as they arrive
        sent = {"first": letter, "made": made}
        assert browser.post("/page/1/choice", data=sent).status_code == 204
    assert 'value="B" required checked' in browser.get("/page/1").text
    for made in ("inf", "nan", "now"):
        answer = browser.post("/page/1/choice", data={"first": "A", "made": made})
        assert answer.status_code == 422
        assert f"made={made}" in answer.text


def test_an_incomplete_answer_is_shown_with_what_is_missing(served: Served) -> None:
    answer = served.participant().post("/page/1", data={"first": "B", "achieved": "D"})
    assert answer.status_code == 422
    assert "Choose a second, a third place." in answer.text
    assert answer.text.count("checked") == 2
    assert served.ballots.answers() == []


def test_an_open_study_takes_as_many_as_it_is_for(comparison: Path, tmp_path: Path) -> None:
    make(comparison, tmp_path / "open", limit=2)
    served = Served(tmp_path / "open")
    first = served.participant()
    first.post("/page/1", data=ANSWER)
    first.post(f"/join/{served.codes[0]}")  # by the link again: the same participant
    second = served.participant()
    assert second.cookies != first.cookies
    answer = served.browser(**VISIT).post(f"/join/{served.codes[0]}")
    assert (answer.status_code, "has all its participants" in answer.text) == (410, True)
    assert len(served.ballots.participants()) == 2
    served.ballots.__exit__(None, None, None)


def test_a_page_shows_letters_and_says_no_method(served: Served) -> None:
    browser = served.participant()
    pages = served.ballots.pages(0)
    for number, page in enumerate(pages, 1):
        answer = browser.get(f"/page/{number}")
        assert not any(method in answer.text for method in METHODS)
        assert not any(method in str(answer.headers) for method in METHODS)
        videos = re.findall(r'src="/video/(\w+)"', answer.text)
        scenario = served.app.state.site.study.scenario(page.scenario)
        assert videos == [scenario.source, *page.videos(scenario)]
        assert (len(set(videos)) == 1) == (set(page.candidates) == {SOURCE})


def test_a_video_can_be_sought_in(served: Served) -> None:
    browser = served.participant()
    [video, *_] = sorted(served.app.state.site.videos)
    whole = browser.get(f"/video/{video}")
    assert whole.headers["content-type"] == "video/mp4"
    part = browser.get(f"/video/{video}", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert served.browser().get(f"/video/{video}").status_code == 403


SCRIPT = "<script>alert(1)</script>"


def test_no_script_gets_in(comparison: Path, tmp_path: Path) -> None:
    make(comparison, tmp_path / "bad", invitations=1, title=SCRIPT, question=f'"{SCRIPT}')
    served = Served(tmp_path / "bad")
    browser = served.participant()
    texts = [browser.get(f"/page/{number}").text for number in (1, 2, 3)]
    texts += [browser.post("/page/1", data=ANSWER | {"first": SCRIPT}, headers=VISIT).text]
    texts += [browser.get(f"/join/{SCRIPT}", headers=VISIT).text, served.researcher().get("/").text]
    assert not any(SCRIPT in text or "<b>jumps" in text for text in texts)
    assert any("&lt;b&gt;jumps&lt;/b&gt; &amp; lands" in text for text in texts)
    assert "script-src 'self'" in browser.get("/next").headers["content-security-policy"]
    served.ballots.__exit__(None, None, None)


@pytest.mark.parametrize(
    "said",
    [
        "first=B&second=A&third=E",
        "first=B&second=B&third=C",
        "first=B&second=A",
        "first=B&second=A&third=C&first=D",
        "first=B&second=A&third=C&achieved=%3Cb%3E",
        "first=B&second=A&third=C&achieved=ours",
        "first=\udcff",
        "&".join(["achieved=A"] * 101),
        "",
    ],
)
def test_a_vote_that_is_none(said: str, served: Served) -> None:
    browser = served.participant()
    content = said.encode("utf-8", "surrogateescape")
    assert browser.post("/page/1", content=content).status_code == 422
    assert served.ballots.answers() == []


def test_a_vote_is_taken_once(served: Served) -> None:
    browser = served.participant()
    for _ in range(2):  # the browser has not heard of the first
        assert browser.post("/page/1", data=ANSWER).url.path == "/page/2"
    other = browser.post("/page/1", data=ANSWER | {"first": "C"}, headers=VISIT)
    assert (other.status_code, "can no longer be changed" in other.text) == (409, True)
    assert browser.post("/page/1/choice", data=ANSWER).status_code == 409
    assert browser.post("/page/3", data=ANSWER).status_code == 409  # never shown
    [answer] = served.ballots.answers()
    assert answer.choice.places == (1, 0, 3)


@pytest.mark.parametrize("number", ["0", "4", "-1", "99999999999999999999"])
def test_a_page_that_there_is_not(number: str, served: Served) -> None:
    browser = served.participant()
    assert browser.get(f"/page/{number}").status_code == 404
    assert browser.post(f"/page/{number}", data=ANSWER).status_code == 404


def test_nobody_votes_as_someone_else(served: Served) -> None:
    first, second = served.participant(0), served.participant(1)
    name = served.app.state.site.cookie
    value = str(first.cookies[name])
    token = value.partition(".")[2]
    forged = ["", "0", "0.", f"1.{token}", f"00.{token[:-1]}", f"0.{'0' * 32}", f"7.{token}"]
    for cookie in [*forged, f"٠.{token}"]:
        browser = served.browser(cookie=f"{name}={cookie}".encode())
        assert browser.get("/page/1").status_code == 403
        assert browser.post("/page/1", data=ANSWER).status_code == 403
    assert served.ballots.answers() == []
    assert served.browser(cookie=f"{name}={value}".encode()).get("/page/1").status_code == 200
    second.post("/page/1", data=ANSWER)
    assert [answer.participant for answer in served.ballots.answers()] == [1]


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_no_other_site_votes(headers: dict[str, str], served: Served) -> None:
    browser, mine = served.participant(), served.researcher()
    for path in ("/page/1", "/page/1/choice", f"/join/{served.codes[1]}"):
        assert browser.post(path, data=ANSWER, headers=headers).status_code == 403
    assert mine.post("/end", headers=headers).status_code == 403
    assert (served.ballots.answers(), served.ballots.ended) == ([], None)


def test_cookies_are_strict(served: Served) -> None:
    answer = served.browser().post(f"/join/{served.codes[0]}", follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie


def test_behind_tls_the_cookie_is_sent_by_tls_alone(study: Path) -> None:
    with Ballots(study) as ballots:
        door = Door(port=8050, token="x", hosts=("study.example",), public=PUBLIC)
        url = "https://study.example"
        app = survey_app(Site(study, read_study(study), ballots, door, url))
        browser = TestClient(app, url, headers={"origin": url}, follow_redirects=False)
        answer = browser.post(f"/join/{ballots.links()[0].code}")
    assert "secure" in answer.headers["set-cookie"].lower()


PATHS = ("../study.json", "..%2fstudy.json", "%2e%2e/votes.sqlite", "/etc/passwd", "x", "a" * 5000)


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leaves_the_study(path: str, served: Served) -> None:
    browser, mine = served.participant(), served.researcher()
    for room in ("/video/", "/tables/", "/join/", "/static/"):
        for who in (browser, mine):
            answer = who.get(room + path, follow_redirects=False)
            assert answer.status_code in (401, 403, 404, 422), (room, path)
            assert b"sparks.survey" not in answer.content
            assert b"SQLite" not in answer.content


def test_the_researchers_page_is_nobody_elses(served: Served) -> None:
    browser = served.participant()
    for path in ("/", "/result", "/links.csv", "/tables/votes.csv"):
        assert browser.get(path).status_code == 401
    assert browser.post("/end").status_code == 401
    assert served.ballots.ended is None


def test_nobody_knows_who_leads_before_the_end(served: Served) -> None:
    mine, browser = served.researcher(), served.participant()
    for number in (1, 2, 3):
        browser.post(f"/page/{number}", data=ANSWER)
    text = mine.get("/").text
    assert "1 <small>of 3" in text
    assert not any(method in text for method in METHODS)
    assert "goes on; end it first" in mine.get("/result").text
    assert mine.get("/tables/votes.csv").status_code == 400
    assert mine.post("/end").url.path == "/"
    text = mine.get("/result").text
    assert all(method in text for method in METHODS)
    assert mine.get("/tables/votes.csv").text.startswith("participant,scenario,method,place")
    assert served.codes[1] in mine.get("/links.csv").text
    other = served.browser(**VISIT)
    answer = other.get(f"/join/{served.codes[1]}")
    assert (answer.status_code, "This study is over" in answer.text) == (410, True)


def test_a_disk_that_is_full_is_said_and_nothing_is_acknowledged(served: Served) -> None:
    browser = served.participant()
    served.ballots._db._db.execute("PRAGMA max_page_count=1")
    served.ballots._db._db.execute("PRAGMA journal_size_limit=0")
    answers = [browser.post("/page/1/choice", data=ANSWER) for _ in range(400)]
    refused = [answer for answer in answers if answer.status_code != 204]
    assert refused
    assert {answer.status_code for answer in refused} == {503}
    assert "was not stored" in refused[0].text
